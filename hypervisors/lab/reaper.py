"""Adopts what a daemon leaves behind: `python reaper.py COMMAND...`, where COMMAND puts itself into the background.

libvirt stops a machine by ending QEMU and then waiting until its process id is gone, which needs somebody to collect
the dead process. QEMU's parent is process 1 by then. In a container process 1 is often a program that collects late
or never: stopping or reverting a machine then takes seconds, or fails. So each of the lab's daemons runs below a
"subreaper" (prctl(2), PR_SET_CHILD_SUBREAPER), which collects at once and ends by itself with its last descendant.

Returns when the command has returned, with its exit code. Run as a file, without the project on the path.
"""

import ctypes
import os
import signal
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36


def main(command: list[str]) -> int:
    """Start `command` below a new subreaper in the background and return the command's exit code."""
    answers, tells = os.pipe()
    if os.fork():
        os.close(tells)
        # Nothing comes when the subreaper died before it could tell.
        return int(os.read(answers, 8) or b"1")
    os.close(answers)
    _reap(command, tells)
    return 0


def _reap(command: list[str], tells: int) -> None:
    os.setsid()
    # The terminal's and `down`'s requests to end are for the daemons; without them this process ends anyway.
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, signal.SIG_IGN)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    # Ignored signals are inherited; the daemons must be able to end.
    code = subprocess.run(command, check=False, restore_signals=True, preexec_fn=_listen_again).returncode
    os.write(tells, b"%d" % code)
    os.close(tells)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


def _listen_again() -> None:
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
