"""Set-up tells what it is going to do, does nothing when only asked, and finds its way on computers that lack things."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("deployment/set_up", "deployment/debian_packages.sh", "deployment/delete_data")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh checkout as far as set-up looks at it: no .venv, no node_modules."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    for name in ("deployment", "requirements"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "package-lock.json", copy)
    return copy


def programs(folder: Path, *missing: str) -> str:
    """A PATH with every program of this computer but the missing ones."""
    folder.mkdir()
    for place in ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for program in Path(place).glob("*"):
            link = folder / program.name
            if program.name not in missing and not link.is_symlink():
                link.symlink_to(program)
    return str(folder)


def dry_run(checkout: Path, what: str, path: str) -> str:
    answer = subprocess.run(
        [str(checkout / "deployment/set_up"), "--dry-run", what],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_scripts_are_plain_shell(script: str) -> None:
    for shell in ("sh", "bash"):
        subprocess.run([shell, "-n", str(ROOT / script)], check=True)


def test_a_dry_run_names_every_step_and_takes_none(checkout: Path, tmp_path: Path) -> None:
    before = sorted(checkout.rglob("*"))
    told = dry_run(checkout, "test", programs(tmp_path / "bin"))
    assert "Making .venv" in told
    assert "requirements/development.txt" in told
    assert "package-lock.json" in told
    assert sorted(checkout.rglob("*")) == before


def test_a_missing_debian_package_is_named_before_anything_is_installed(checkout: Path, tmp_path: Path) -> None:
    if not shutil.which("apt-get"):
        pytest.skip("this computer has no apt-get")
    told = dry_run(checkout, "test", programs(tmp_path / "bin", "redis-server", "pkg-config", "go"))
    heading, names = told.splitlines()[:2]
    assert heading == "These Debian packages are missing and will be installed:"
    assert {"redis-server", "pkg-config", "golang-go"} <= set(names.split())


def test_the_demo_does_not_ask_for_what_only_the_tests_start(checkout: Path, tmp_path: Path) -> None:
    told = dry_run(checkout, "demo", programs(tmp_path / "bin", "redis-server", "pkg-config", "go"))
    assert "redis-server" not in told
    assert "golang" not in told
    assert "requirements/runtime.txt" in told


def test_elsewhere_than_on_debian_the_gaps_are_named_and_the_way_goes_on(checkout: Path, tmp_path: Path) -> None:
    told = dry_run(checkout, "test", programs(tmp_path / "bin", "apt-get", "redis-server"))
    assert "This is no Debian or Ubuntu." in told
    assert "redis-server" in told
    assert "simulated hypervisor" in told
    assert "Making .venv" in told


def test_the_demo_leaves_the_tools_of_the_tests_where_they_are(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "installed-packages").write_text("test of an earlier lock\n")
    told = dry_run(checkout, "demo", programs(tmp_path / "bin"))
    assert "requirements/development.txt" in told
    assert "requirements/runtime.txt" not in told


def test_without_headers_the_binding_is_left_out_and_without_npm_a_wheel_brings_it(
    checkout: Path, tmp_path: Path
) -> None:
    told = dry_run(checkout, "demo", programs(tmp_path / "bin", "pkg-config", "npm"))
    assert "without libvirt-python" in told
    assert "npm from the wheel" in told


@pytest.mark.parametrize(
    ("lists", "known", "outcome"),
    [("true", "true", "no: split-off"), ("true", "false", "no:"), ("false", "false", "yes:")],
)
def test_lists_of_packages_are_fetched_where_there_are_none_to_tell_what_a_release_has(
    lists: str, known: str, outcome: str
) -> None:
    script = f"""set -eu; missing= unsure=no; . deployment/debian_packages.sh
        package_lists() {{ {lists}; }}; apt-cache() {{ {known}; }}
        want_known split-off {ROOT}/no-such-file; echo "$unsure:$missing"
        want_known split-off {ROOT}/deployment/set_up; echo "$unsure:$missing"
    """
    answer = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == [outcome, outcome]


def test_an_unknown_word_is_refused(checkout: Path) -> None:
    answer = subprocess.run(
        [str(checkout / "deployment/set_up"), "everything"], capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 1
    assert "usage:" in answer.stderr


def test_a_folder_the_product_never_lived_in_is_not_deleted(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("not the demo's")
    answer = subprocess.run(
        [str(ROOT / "deployment/delete_data")],
        env={**os.environ, "VMSNAP_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert answer.returncode == 1
    assert "not deleted" in answer.stderr
    assert letter.exists()
