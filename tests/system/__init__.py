"""The product as it is run: Celery worker processes with ticks, on each database and broker it can stand on."""
