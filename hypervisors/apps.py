"""Django's entry for the hypervisors app."""

from django.apps import AppConfig


class HypervisorsConfig(AppConfig):
    """Endpoints and drivers."""

    name = "hypervisors"
