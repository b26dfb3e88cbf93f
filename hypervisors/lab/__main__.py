"""`python -m hypervisors.lab up|down|reset|uri|facts|console NAME`: the lab without the product around it.

The data folder is VMSNAP_DATA_DIR, else `var` beside manage.py.
"""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from hypervisors.lab import Lab, LabError
from hypervisors.lab.agent import agent_files
from hypervisors.lab.kernel import find_kernel

DEFAULT_DATA_FOLDER = Path(__file__).resolve().parents[2] / "var"


def main(arguments: list[str] | None = None) -> int:
    """Do one command; errors are one line on standard error and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="python -m hypervisors.lab", description="Real machines under a private libvirtd."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start the daemons and machines")
    up.add_argument("machines", nargs="*", help="only these (default: all)")
    for name, meaning in (
        ("down", "stop machines and daemons; disks and snapshots stay"),
        ("reset", "down, and delete everything of the lab"),
        ("uri", "print the libvirt address"),
        ("fetch", "find or download the machines' kernel and guest agent, so that the lab starts without a network"),
        ("facts", "print what this lab can do and why not more"),
    ):
        commands.add_parser(name, help=meaning)
    console = commands.add_parser("console", help="print what a machine wrote on its serial console")
    console.add_argument("name")
    chosen = parser.parse_args(arguments)
    try:
        return _do(chosen, Lab(os.environ.get("VMSNAP_DATA_DIR") or DEFAULT_DATA_FOLDER))
    except LabError as error:
        print(error, file=sys.stderr)
        return 1


def _do(chosen: argparse.Namespace, lab: Lab) -> int:
    match chosen.command:
        case "up":
            facts = lab.up(chosen.machines or None)
            print(f"The lab is up: {', '.join(lab.running())} on QEMU with {facts.accelerator}. {lab.uri}")
        case "down":
            lab.down()
        case "reset":
            lab.reset()
        case "uri":
            print(lab.uri)
        case "fetch":
            find_kernel()
            agent_files()
        case "facts":
            print(json.dumps(asdict(lab.facts), indent=2))
        case "console":
            print(lab.console(chosen.name), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
