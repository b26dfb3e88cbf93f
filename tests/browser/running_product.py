"""Starts the product the way `make demo` does, in a data folder of its own, and ends it again."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypervisors.lab import Lab
from tests.ports import HeldPort
from tests.vsphere_simulator import binary

ROOT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "journey through the demo"
KEPT = ROOT / "test-output" / "logs"
START_SECONDS = 240
STOP_SECONDS = 90


class Product:
    """A running demo. `lab` is None when it runs with the simulated hypervisor."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.address = f"http://127.0.0.1:{port}"
        self.log = folder / "run_all.log"
        self.environment = {
            **os.environ,
            "VMSNAP_DATA_DIR": str(folder),
            "VMSNAP_PORT": str(port),
            "VMSNAP_DEMO_PASSWORD": PASSWORD,
            "VMSNAP_SYNC_EVERY_SECONDS": "10",
        }
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)

    @property
    def lab(self) -> Lab:
        """The lab of this demo."""
        return Lab(self.folder)

    def manage(self, *arguments: str) -> str:
        """What a management command prints."""
        answer = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return answer.stdout.strip()

    def is_ready(self) -> bool:
        """Whether it says that it runs, which it does when the machines are read in, and the sign-in page comes. Pages
        alone come earlier."""
        if "VMSnap is running at" not in self.log.read_text(errors="replace"):
            return False
        try:
            with urllib.request.urlopen(f"{self.address}/sign-in/", timeout=5) as page:  # noqa: S310  # our own address
                return bool(page.status == 200)
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def running_product(*options: str) -> Iterator[Product]:
    """`manage.py run_all` with these options, once it is ready; ended with Ctrl-C afterwards, its data deleted."""
    if not binary.why_not():
        binary.built()  # else the demo would compile its vCenter beside the tests
    with tempfile.TemporaryDirectory(prefix="vmsnap-demo-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        folder.chmod(0o755)  # the lab's own user has to reach its part of it
        port = HeldPort()
        product = Product(folder, port.number)
        with product.log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "run_all", *options],
                cwd=ROOT,
                env=product.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_for_answer(product, process)
            yield product
        finally:
            _end(process)
            port.let_go()
            KEPT.mkdir(parents=True, exist_ok=True)
            shutil.copy(product.log, KEPT / f"run_all-{process.pid}.log")
            if product.lab.layout.marker.exists():
                product.lab.reset()


def _wait_for_answer(product: Product, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while not product.is_ready():
        if process.poll() is not None or time.monotonic() > until:
            said = product.log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"run_all did not come up (exit {process.returncode}):\n{said}")
        time.sleep(0.2)  # the pace of asking; the condition is the answer


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            raise AssertionError("run_all did not end within its time after Ctrl-C.") from None
