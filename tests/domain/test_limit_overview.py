"""Who is near a limit: the fullest first, and only what a person may see."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from snapshots.choices import LimitKind
from snapshots.models import LimitUse
from snapshots.reading.limit_overview import near_limits
from tests.builders import account, limit


def names(person, most=10):
    return [row.name for row in near_limits(person, most)]


@pytest.fixture
def limited(people):
    """Acme has used 9 of 10, its domain half of its bytes, the other account 1 of 10."""
    limit(people.acme, 10)
    limit(people.engineering, 100, LimitKind.BYTES)
    limit(people.other, 10)
    LimitUse.objects.filter(account=people.acme).update(snapshots=9, estimated_bytes=50)
    LimitUse.objects.filter(domain=people.engineering).update(snapshots=9, estimated_bytes=50)
    LimitUse.objects.filter(account=people.other).update(snapshots=1)
    return people


def test_the_fullest_come_first_and_no_more_than_asked_for(limited):
    assert names(limited.root) == ["acme", "engineering", "other"]
    assert names(limited.root, 1) == ["acme"]
    first, second, _ = near_limits(limited.root, 10)
    assert (first.level, first.inside, first.kind, first.used, first.limit, first.percent) == (
        "account", "engineering", LimitKind.SNAPSHOTS, 9, 10, 90,
    )  # fmt: skip
    assert (second.level, second.inside, second.kind, second.share) == ("domain", "organisation", LimitKind.BYTES, 0.5)


def test_each_person_sees_their_own(limited):
    assert names(limited.alice) == names(limited.bob) == names(limited.dora) == ["acme", "engineering"]
    assert names(limited.charlie) == ["other"]
    assert names(limited.nora) == []
    limit(limited.organisation, 9)
    assert "organisation" not in names(limited.dora)


def test_defaults_are_limits_too(people, settings):
    settings.LIMIT_ACCOUNT_SNAPSHOTS = 2
    LimitUse.objects.filter(account=people.acme).update(snapshots=1)
    found = {row.name: (row.used, row.limit) for row in near_limits(people.root, 10)}
    assert found == {"acme": (1, 2), "other": (0, 2)}
    limit(people.acme, -1)
    assert names(people.root) == ["other"]


def test_a_limit_of_nothing_is_the_fullest_once_something_is_in_use(limited):
    limit(limited.other, 0)
    first = near_limits(limited.root, 10)[0]
    assert (first.name, first.share, first.percent) == ("other", float("inf"), None)
    LimitUse.objects.filter(account=limited.other).update(snapshots=0)
    assert near_limits(limited.root, 10)[0].share == 1.0


@pytest.mark.parametrize("count", [1, 20])
def test_it_takes_two_queries_however_many_there_are(limited, count):
    for number in range(count):
        limit(account(f"a{number}", limited.engineering), number)
    for person in (limited.root, limited.dora):
        person._root_admin_known = person is limited.root
        with CaptureQueriesContext(connection) as captured:
            near_limits(person, 10)
        assert len(captured) == 2
