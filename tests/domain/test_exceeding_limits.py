"""Going beyond a limit: an admin's choice where the installation lets them, and written down."""

import pytest

from snapshots.models import Event, VMSnapshot
from snapshots.services.drift_actions import adopt_snapshot
from snapshots.services.snapshot_actions import request_create, request_revert
from tests.builders import acting, limit, take
from tests.domain.refusing import assert_limited

pytestmark = pytest.mark.usefixtures("many_per_machine")


def exceeding(people, person, machine, **more):
    return request_create(acting(person), machine=machine, name="beyond", exceed_limits=True, **more)


@pytest.mark.parametrize(
    ("limited", "person", "may"),
    [
        ("acme", "alice", False),
        ("acme", "dora", True),
        ("acme", "root", True),
        ("engineering", "dora", True),
        ("organisation", "dora", False),
        ("organisation", "root", True),
    ],
)
def test_admins_go_beyond_the_limits_of_their_domains_where_the_installation_lets_them(
    people, web, cloud, settings, limited, person, may
):
    limit(getattr(people, limited), 0)
    person = getattr(people, person)
    assert_limited(cloud.world, lambda: exceeding(people, person, web))
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    assert_limited(cloud.world, lambda: request_create(acting(person), machine=web, name="no choice was made"))
    if not may:
        assert_limited(cloud.world, lambda: exceeding(people, person, web))
        return
    exceeding(people, person, web)
    event = Event.objects.get(action="limits.exceeded")
    assert (event.level, event.user_name, event.machine_name) == ("warning", person.get_username(), "web")
    told = "A domain above" if limited == "organisation" else f"{limited} has 0 VM snapshots and may have 0."
    assert told in event.detail


def test_nobody_goes_beyond_two_limits_of_which_one_is_not_theirs(people, web, cloud, settings):
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    limit(people.acme, 0)
    limit(people.organisation, 0)
    assert_limited(cloud.world, lambda: exceeding(people, people.dora, web))
    exceeding(people, people.root, web)
    event = Event.objects.get(action="limits.exceeded")
    assert "acme" in event.detail
    assert "A domain above the domain engineering" in event.detail


def test_the_default_maximum_per_machine_is_gone_beyond_by_the_domains_admins(people, web, cloud, settings):
    settings.SNAPSHOTS_PER_MACHINE = 0
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    assert_limited(cloud.world, lambda: exceeding(people, people.alice, web))
    exceeding(people, people.dora, web)


def test_a_safety_snapshot_and_an_adoption_can_go_beyond_too(people, web, cloud, settings):
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    first = take(web, "one", memory=True)
    cloud.world.take_elsewhere(web.native_id, "theirs")
    cloud.sync()
    limit(people.acme, 0)
    dora = acting(people.dora)
    adopt_snapshot(dora, snapshot=VMSnapshot.objects.get(name="theirs"), exceed_limits=True)
    request_revert(dora, snapshot=first, safety_snapshot=True, exceed_limits=True)
    assert Event.objects.filter(action="limits.exceeded").count() == 2


def test_a_choice_to_go_beyond_that_was_not_needed_leaves_no_mark(people, web, settings):
    settings.ADMINS_MAY_EXCEED_LIMITS = True
    exceeding(people, people.dora, web)
    assert not Event.objects.filter(action="limits.exceeded").exists()
