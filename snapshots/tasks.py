"""Celery's door: ids in, service out, no rule."""

from celery import shared_task

from snapshots.services import (
    book_check,
    capacity_samples,
    expiry,
    job_runner,
    job_sweeper,
    scheduled_snapshots,
    sync_schedule,
    usage_aggregation,
)


@shared_task(name="snapshots.run_job")
def run_job(job_pk: int) -> None:
    """Carry out the job, or find out what became of it."""
    job_runner.run_job(job_pk)


@shared_task(name="snapshots.sweep_jobs")
def sweep_jobs() -> None:
    """Ring again for jobs that nobody took, look after those whose worker is silent."""
    job_sweeper.sweep()


@shared_task(name="snapshots.sync_due_hypervisors")
def sync_due_hypervisors() -> None:
    """Order a reading of each endpoint."""
    sync_schedule.order_due_syncs()


@shared_task(name="snapshots.expire_snapshots")
def expire_snapshots() -> None:
    """Ask for the deletion of VM snapshots that are too old."""
    expiry.expire_snapshots()


@shared_task(name="snapshots.take_scheduled_snapshots")
def take_scheduled_snapshots() -> None:
    """Ask for the VM snapshots that schedules are due for."""
    scheduled_snapshots.take_due_snapshots()


@shared_task(name="snapshots.prune_scheduled_snapshots")
def prune_scheduled_snapshots() -> None:
    """Ask for the deletion of VM snapshots that schedules need not keep."""
    scheduled_snapshots.prune_scheduled_snapshots()


@shared_task(name="snapshots.check_books")
def check_books() -> None:
    """Count what is in use again, tell of every difference, and put it right."""
    book_check.check_books(repair=True)


@shared_task(name="snapshots.close_usage_periods")
def close_usage_periods() -> None:
    """Bill the periods that are over."""
    usage_aggregation.close_due_periods()


@shared_task(name="snapshots.sample_capacity")
def sample_capacity() -> None:
    """Write down how full pools are and what accounts hold."""
    capacity_samples.sample()
