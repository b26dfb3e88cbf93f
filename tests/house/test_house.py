"""The house as a whole: rooms enter each other in the allowed directions, tables fit their models, starting up touches no
network and no hypervisor, and the README tells all settings."""

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command

HOUSE = Path(__file__).resolve().parents[2]
READERS = r"env\.(?:text|secret|number|whole|yes|listed|choice|zone)\(\s*\"([A-Z_]+)\"|kept_secret\(\"([A-Z_]+)\""

# Every module of ours is imported while sockets and the libvirt binding's doors are nailed shut.
IMPORT_ALL = """
import importlib, pkgutil, socket, sys

def closed(*args, **kwargs):
    raise SystemExit("the network was used at import")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = closed
import django
django.setup()
import hypervisors, snapshots, vmsnap_site
for house in (hypervisors, snapshots, vmsnap_site):
    for module in pkgutil.walk_packages(house.__path__, house.__name__ + "."):
        if module.name.rpartition(".")[2] == "__main__" or module.name.startswith("hypervisors.drivers.libvirt"):
            continue
        importlib.import_module(module.name)
assert "libvirt" not in sys.modules, "the libvirt binding is loaded before it is needed"
print("done")
"""


def test_rooms_enter_each_other_in_the_allowed_directions_only() -> None:
    answer = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.django_db
def test_the_tables_fit_the_models() -> None:
    out = io.StringIO()
    call_command("makemigrations", check=True, dry_run=True, stdout=out)
    assert "No changes detected" in out.getvalue()


def test_starting_up_touches_no_network_and_no_hypervisor(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=HOUSE,
        env={"DJANGO_SETTINGS_MODULE": "vmsnap_site.settings", "VMSNAP_DATA_DIR": str(tmp_path), "PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout == "done\n", answer.stdout + answer.stderr


def test_the_readme_tells_every_setting_and_none_that_is_not_there() -> None:
    source = (HOUSE / "vmsnap_site/settings.py").read_text()
    known = {f"VMSNAP_{first or second}" for first, second in re.findall(READERS, source)}
    rows = re.findall(r"^\| *`(VMSNAP_[A-Z_]+)`", (HOUSE / "README.md").read_text(), re.MULTILINE)
    of_the_lab = {"VMSNAP_LAB_USER", "VMSNAP_LAB_CACHE"}
    assert len(known) > 20
    assert sorted(set(rows) - of_the_lab) == sorted(known)
    assert len(rows) == len(set(rows))
