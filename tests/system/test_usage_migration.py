"""An installation that has billed already gets its months by migrating: what they would be, had they been kept before."""

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import DatabaseError, transaction
from django.db.models import F

from snapshots.choices import UsageChange
from snapshots.models import UsageMonth, UsagePeriod, UsageRecord
from snapshots.reading.usage_proof import prove
from tests.installation import Installation
from tests.usage import Line, at, close, months_of_records, months_written

BEFORE = "0009_usage_records"
ZONE = "America/New_York"


@pytest.fixture(params=["sqlite", "postgresql"])
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One on each database, which bills in New York."""
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql").new_database()
    folder = tmp_path_factory.mktemp(request.param)
    with closing(Installation(folder, database_url=url, USAGE_TIME_ZONE=ZONE, LOG_LEVEL="ERROR")) as made:
        yield made


def use_and_close() -> int:
    """Machines over the edge of a month: one that is renamed, one that moves, petabytes, and a correction. Answers how many
    records that makes."""
    size = 2**63 - 1
    renamed = Line(machine_name="old").taken("2026-02-26 12:00")
    renamed.resized("2026-03-02 12:00", machine_name="new")
    Line().taken("2026-02-27 02:00").moved("2026-02-28 12:00", account_uuid=uuid4())
    for _ in range(12):
        Line(
            machine_uuid=UUID(int=1),
            account_uuid=UUID(int=2),
            volume_bytes=size,
            estimated_bytes=size,
            measured_bytes=size,
        ).taken("2026-02-01 00:00:00.000001")
    close("2026-03-04 12:00")
    renamed.tell("2026-02-27 12:00", UsageChange.DELETE, machine_name="old")
    close("2026-03-05 12:00")
    return UsageRecord.objects.count()


def migrate(to: str | None = None) -> None:
    """To this migration of the product, or to the newest."""
    call_command("migrate", "snapshots", *([to] if to else []), verbosity=0)


def facts() -> dict[str, Any]:
    """What there is after all."""
    return {
        "written": months_written(),
        "names": sorted(UsageMonth.objects.values_list("machine_name", flat=True)),
        "records": UsageRecord.objects.count(),
        "months": list(UsagePeriod.objects.order_by("start").values_list("start", "month")),
        "same": months_written() == months_of_records(),
        "wrong": prove().differences,
        "refused": [refused(rows, verb) for rows in (UsagePeriod, UsageRecord) for verb in ("update", "delete")],
    }


def refused(rows: Any, verb: str) -> bool:
    """Whether the database refuses to change what is closed."""
    try:
        with transaction.atomic():
            if verb == "update":
                rows.objects.update(end=F("end") + timedelta(seconds=1))
            else:
                rows.objects.all()._raw_delete("default")
    except DatabaseError as refusal:
        return "never changes" in str(refusal)
    return False


def test_what_was_billed_before_is_summed_up_and_stays_unchangeable(installation: Installation) -> None:
    records = installation.ask(use_and_close)
    kept = installation.ask(facts)
    assert kept["refused"] == [True] * 4
    assert kept["same"]
    installation.ask(migrate, BEFORE)
    installation.ask(migrate)
    made = installation.ask(facts)
    assert made == kept
    assert made["records"] == records
    assert made["wrong"] == []
    assert dict(made["months"])[at("2026-03-01 05:00")] == at("2026-03-01").date()


def test_an_installation_that_has_billed_nothing_migrates_both_ways(installation: Installation) -> None:
    installation.ask(migrate, BEFORE)
    installation.ask(migrate)
    assert installation.ask(facts)["written"] == {}
