"""What the README tells people to type works, to the letter."""

import re
import subprocess

import pytest

from hypervisors import errors
from snapshots import refusals
from snapshots.services.job_runner import WORKER_LOST
from snapshots.services.jobs import OUTCOME_UNKNOWN
from tests.browser import trees
from tests.browser.running_product import Product
from tests.readme.blocks import HOUSE, README, commands, section

MACHINE = "web-1"
WITHIN_SECONDS = 300


def run(product: Product, script: str) -> subprocess.CompletedProcess[str]:
    """The script in a shell that stops at the first error, as a person who has started the product with its settings."""
    return subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=HOUSE,
        env=product.environment,
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )


@pytest.mark.lab
@pytest.mark.system
def test_the_five_calls_take_a_vm_snapshot_that_virsh_sees_revert_to_it_and_delete_it(product: Product) -> None:
    prepare, find, take, wait, look, last = commands(section("REST in five calls"))
    from_outside = next(block for block in commands(section("See it from outside")) if "snapshot-list" in block)
    assert MACHINE in from_outside
    assert MACHINE in find
    product.lab.wait_for_tick(MACHINE)
    answer = run(product, "".join([prepare, find, take, wait, look, from_outside, last]))
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said
    assert "202 Accepted" in answer.stderr, said
    assert re.search(r"^Location: http://localhost:\d+/api/v1/jobs/[0-9a-f-]+/", answer.stderr, re.MULTILINE), said
    first, rest = re.split(r"^succeeded$", answer.stdout, maxsplit=1, flags=re.MULTILINE)
    assert f'"name": "{MACHINE}"' in first, said
    assert '"name": "Before upgrade"' in rest, said
    assert '"current": true' in rest, said
    assert re.search(r"^before-upgrade-[0-9a-f]+$", rest.replace(" ", ""), re.MULTILINE), said
    assert re.findall(r"^(?:succeeded|failed|cancelled)$", rest, re.MULTILINE) == ["succeeded", "succeeded"], said
    assert trees.in_virsh(product.lab, MACHINE) == {}


@pytest.mark.lab
@pytest.mark.system
def test_the_calls_of_the_rest_guide_work_too(product: Product) -> None:
    blocks = commands(section("REST in five calls", HOUSE / "docs" / "rest.md"))
    assert len(blocks) > 5
    script = "".join(blocks).replace("http://localhost:8000", product.address)
    answer = run(product, script)
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said
    # The first one follows a list of machines, which ends without a new line.
    assert re.findall(r"(?:succeeded|failed|cancelled)$", answer.stdout, re.MULTILINE) == ["succeeded"] * 3, said
    assert '"name": "before the upgrade"' in answer.stdout, said


@pytest.mark.lab
@pytest.mark.system
def test_the_calls_of_the_guide_to_schedules_make_pause_change_and_delete_one(product: Product) -> None:
    guide = HOUSE / "docs"
    prepare, find, *_ = commands(section("REST in five calls", guide / "rest.md"))
    make, *rest = commands(section("Over REST", guide / "schedules.md"))
    script = "".join([prepare, find, make, *rest, 'ask "$VMSNAP/schedules/$SCHEDULE/"'])
    answer = run(product, script.replace("http://localhost:8000", product.address))
    said = answer.stdout + answer.stderr
    assert answer.returncode == 0, said
    assert '"when": "every Monday and Friday at 06:30, Europe/Berlin"' in answer.stdout, said
    paused, changed, missed, taken, gone = answer.stdout.splitlines()[-5:]
    assert (paused, changed) == ("None", "every Monday and Friday at 07:30, Europe/Berlin"), said
    assert (missed[0], taken) == ("[", "[]"), said
    assert '"code":"not_found"' in gone, said


def test_every_make_target_that_is_told_of_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    told = set(re.findall(r"^make ([a-z-]+)", "".join(commands(text)), re.MULTILINE))
    told |= set(re.findall(r"`(?:VMSNAP_PORT=\d+ )?make ([a-z-]+)", text))
    assert told >= {"demo", "demo-reset", "test", "bench", "lint", "picture"}
    for target in told:
        answer = subprocess.run(["make", "-n", target], cwd=HOUSE, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr


def test_everything_the_readme_links_to_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)
    assert len(linked) >= 5
    assert [path for path in linked if not (HOUSE / path).is_file()] == []


def test_the_guide_to_rest_names_every_code_that_a_refusal_or_a_job_can_have() -> None:
    told = set(re.findall(r"`([a-z_]+)`", section("What else to know", HOUSE / "docs" / "rest.md")))
    refused = {kind.code for kind in refusals.Refusal.__subclasses__()}
    failed = {kind.code for kind in every_kind_of(errors.HypervisorError)} | {WORKER_LOST, OUTCOME_UNKNOWN}
    assert len(refused) > 8
    assert len(failed) > 10
    assert sorted((refused | failed) - told) == []


def every_kind_of(error: type[errors.HypervisorError]) -> set[type[errors.HypervisorError]]:
    return {error}.union(*(every_kind_of(narrower) for narrower in error.__subclasses__()))
