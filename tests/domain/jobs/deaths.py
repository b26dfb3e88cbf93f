"""Ways for a worker to die in the middle of a job, as if it had been killed."""

import pytest

from hypervisors.drivers.simulated.driver import SimulatedDriver
from snapshots.choices import JobState
from snapshots.services import job_runner
from tests.domain.scenes import (
    Scene,
)


def die(*_: object, **__: object) -> None:
    raise SystemExit("killed")


def die_before_beginning(monkeypatch, scene: Scene) -> None:
    monkeypatch.setattr(job_runner, "_begin", die)


def die_before_asking(monkeypatch, scene: Scene) -> None:
    monkeypatch.setattr(job_runner, "open_driver", die)


def die_while_asking(monkeypatch, scene: Scene) -> None:
    monkeypatch.setattr(SimulatedDriver, scene.operation, die)


def die_once_done(monkeypatch, scene: Scene) -> None:
    real = getattr(SimulatedDriver, scene.operation)

    def do_anddie(*args: object, **kwargs: object) -> None:
        real(*args, **kwargs)
        raise SystemExit("killed")

    monkeypatch.setattr(SimulatedDriver, scene.operation, do_anddie)


def die_while_writing(monkeypatch, scene: Scene) -> None:
    monkeypatch.setattr(job_runner, "finish", die)


BEFORE = [die_before_beginning, die_before_asking, die_while_asking]
AFTER = [die_once_done, die_while_writing]


def kill(monkeypatch, scene: Scene, moment) -> None:
    """Carry the job out until its worker dies at this moment; the row still says that it runs."""
    scene.world.forget_calls()
    with monkeypatch.context() as patched:
        moment(patched, scene)
        with pytest.raises(SystemExit):
            job_runner.run_job(scene.job.pk)
    assert scene.ended().state == JobState.RUNNING
