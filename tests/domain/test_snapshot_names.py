"""What a VM snapshot may be called and described as: anything a person can read, once on each machine."""

import unicodedata

import pytest

from snapshots.choices import JobState
from snapshots.services.snapshot_actions import (
    request_create,
    request_delete,
)
from tests.builders import acting, drawn, run, take
from tests.domain.refusing import assert_refused


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "x" * 255,
        "<script>alert(1)</script> & \"quoted\" 'twice'",
        "النسخة الأولى",
        "לפני השדרוג",
        "before 🚀 👩‍👩‍👧",
        "e\u0301te\u0301",
        "nəm ῥ ÿ",
        "'; DROP TABLE snapshots; --",
        "../../etc/passwd",
        "%s {0} $HOME `id`",
        "x\u202ey",
    ],
    ids=ascii,
)
def test_any_name_a_person_can_read_works_on_the_whole_way(web, cloud, name):
    row = take(web, name)
    wanted = unicodedata.normalize("NFC", name)
    assert row.name == wanted
    assert list(cloud.world.snapshot_names(web.native_id).values()) == [wanted]
    cloud.sync()
    assert drawn(web) == {wanted: None}
    assert run(request_delete(acting(None), snapshot=row)).state == JobState.SUCCEEDED


def test_space_around_a_name_is_not_part_of_it(web):
    assert take(web, "  first \n").name == "first"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "\u200b",
        "\u200e \u2060",
        "x" * 256,
        "a\x00b",
        "a\nb",
        "a\tb",
        "a\x1bb",
        "a\x7fb",
        "a\u2028b",
        "a\ud800b",
        "a\ufffeb",
        None,
        7,
    ],
    ids=ascii,
)
def test_a_name_that_cannot_be_kept_or_seen_is_refused(web, alice, cloud, name):
    refusal = assert_refused(cloud.world, "invalid", lambda: request_create(alice, machine=web, name=name))
    assert list(refusal.extra["fields"]) == ["name"]


def test_a_description_has_its_own_bounds(web, alice, cloud):
    for description in ("x" * 4001, "a\x00b", None):
        refusal = assert_refused(
            cloud.world,
            "invalid",
            lambda text=description: request_create(alice, machine=web, name="a", description=text),
        )
        assert list(refusal.extra["fields"]) == ["description"]
    job = request_create(alice, machine=web, name="a", description="one\r\ntwo\tthree")
    assert job.snapshot.description == "one\ntwo\tthree"


@pytest.mark.parametrize("name", ["first", " first ", "e\u0301te\u0301"], ids=ascii)
def test_a_name_in_use_on_the_machine_is_refused_and_named(web, db_machine, alice, cloud, name):
    take(web, "first")
    take(web, "\u00e9t\u00e9")
    wanted = unicodedata.normalize("NFC", name.strip())
    refusal = assert_refused(cloud.world, "name_taken", lambda: request_create(alice, machine=web, name=name))
    assert wanted in refusal.detail
    assert "web" in refusal.detail
    request_create(alice, machine=db_machine, name=name)


def test_names_that_differ_in_case_only_are_different(web, people):
    take(web, "first")
    take(web, "FIRST")
