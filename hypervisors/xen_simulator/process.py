"""Starts and stops the simulator as a child process, and speaks to its control door. For tests and other programs.

with XenSimulator(folder, world="small") as xen:
    session = XenAPI.Session(xen.url, transport=...)   # trusts xen.ca_certificate
    session.login_with_password(xen.username, xen.password)
    xen.control.refuse("VM.snapshot", "SR_BACKEND_FAILURE_44", ["", "There is insufficient space", ""])
"""

import base64
import http.client
import json
import ssl
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hypervisors.xen_simulator.pool import Account
from hypervisors.xen_simulator.worlds import World

START_SECONDS = 60.0
STOP_SECONDS = 15.0
CHECKOUT = Path(__file__).parents[2]


class ControlRefused(Exception):
    """The control door did not do what was asked; says why."""


class Control:
    """The control door of a running simulator. Calls return at once unless they say otherwise.

    `message` is a message's name; "VM.snapshot" means Async.VM.snapshot too, "Async.VM.snapshot" that alone. `times` is
    how often the fault happens, None for until `clear`. `step` is the step of the work at which it does, None for the
    beginning; steps: snapshot and checkpoint "disk-0", "disk-1"..., "disks", checkpoint also "suspend", "resumed"; revert
    "shutdown", "fields", "disks-destroyed", "clone-0"..., "disks-cloned", "image-cloned", "devices".
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._port = port

    def order(self, do: str, **more: Any) -> Any:
        """Ask for something by its name. Raises `ControlRefused`."""
        context = ssl.create_default_context(cafile=str(self._folder / "ca.pem"))
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=context, timeout=120)
        token = (self._folder / "control_token").read_text().strip()
        try:
            body = json.dumps({"do": do, **more})
            connection.request("POST", "/simulator", body, {"Authorization": f"Bearer {token}"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if "error" in answer:
            raise ControlRefused(answer["error"])
        return answer["result"]

    def _fault(self, kind: str, message: str, **more: Any) -> int:
        number: int = self.order("fault", kind=kind, message=message, **more)
        return number

    def refuse(
        self,
        message: str,
        code: str,
        params: list[str] | None = None,
        *,
        times: int | None = 1,
        step: str | None = None,
    ) -> int:
        """This failure in place of the work, or in the middle of it."""
        return self._fault("refuse", message, code=code, params=params or [], times=times, step=step)

    def delay(self, message: str, seconds: float, *, times: int | None = 1, step: str | None = None) -> int:
        """Wait before the work or a step of it."""
        return self._fault("delay", message, seconds=seconds, times=times, step=step)

    def hold(self, message: str, *, times: int | None = 1, step: str | None = None) -> int:
        """Stand still at this point until `release` or a cancellation. Returns the number for `release`."""
        return self._fault("hold", message, times=times, step=step)

    def wait_held(self, number: int, seconds: float = 30.0) -> bool:
        """Wait until somebody stands still there; whether that came to be in time."""
        held: bool = self.order("wait_held", number=number, seconds=seconds)
        return held

    def release(self, number: int) -> None:
        """Let go on whoever stands still there."""
        self.order("release", number=number)

    def never_end(self, message: str, *, step: str | None = None) -> int:
        """The work never ends; a cancellation ends it where the work can be cancelled."""
        return self._fault("never_end", message, step=step)

    def lose_answer(self, message: str, *, times: int | None = 1) -> int:
        """Do it, then drop the connection without an answer."""
        return self._fault("lose_answer", message, times=times)

    def forget_task(self, message: str, *, times: int | None = 1) -> int:
        """Do the work, then forget the task: whoever asks for it gets HANDLE_INVALID."""
        return self._fault("forget_task", message, times=times)

    def die(self, message: str, *, step: str | None = None) -> int:
        """Die by SIGKILL at this point of the work."""
        return self._fault("die", message, step=step)

    def die_before_answer(self, message: str) -> int:
        """Do it, then die by SIGKILL without an answer."""
        return self._fault("die_before_answer", message)

    def answer(self, message: str, kind: str, *, times: int | None = 1) -> int:
        """Answer as a broken or hostile server: "garbage", "truncated", "huge", "drip" or "redirect" (endless)."""
        return self._fault(kind, message, times=times)

    def clear(self) -> None:
        """No faults any more, nothing held, no repository full, an empty log of calls."""
        self.order("clear")

    def calls(self) -> list[tuple[str, str, int]]:
        """Calls since `clear`: name (with "Async."), user, number of parameters besides the session."""
        return [(name, user, count) for name, user, count in self.order("calls")]

    def expire_sessions(self) -> None:
        """All sessions end."""
        self.order("expire_sessions")

    def redirect(self, address: str) -> None:
        """From now on logins answer HOST_IS_SLAVE with this address; an empty one ends that."""
        self.order("redirect", address=address)

    def fill(self, sr_uuid: str, *, full: bool = True) -> None:
        """The repository has no space left (or has again what it really has)."""
        self.order("fill", sr=sr_uuid, full=full)

    def vanish(self, vm_uuid: str, *, snapshots: bool = False) -> None:
        """The machine is gone, its snapshots too or not."""
        self.order("vanish", vm=vm_uuid, snapshots=snapshots)

    def add_machine(self, machine: dict[str, Any]) -> dict[str, str]:
        """Make a machine as a world describes it (`worlds`); returns {"vm": reference, "uuid": uuid}."""
        made: dict[str, str] = self.order("add_machine", machine=machine)
        return made

    def write(self, vdi_uuid: str, offset: int, content: bytes) -> None:
        """Write to a disk as its guest would."""
        self.order("write", vdi=vdi_uuid, offset=offset, content=base64.b64encode(content).decode())

    def read(self, vdi_uuid: str, offset: int, length: int) -> bytes:
        """Read from a disk as its guest would."""
        return base64.b64decode(self.order("read", vdi=vdi_uuid, offset=offset, length=length))

    def chain(self, vdi_uuid: str) -> list[str]:
        """Uuids of a disk's layers, its own first."""
        layers: list[str] = self.order("chain", vdi=vdi_uuid)
        return layers

    def collect_garbage(self) -> int:
        """Coalesce now; how many base copies went."""
        gone: int = self.order("collect_garbage")
        return gone

    def forget(self, task_ref: str) -> None:
        """Forget one task now."""
        self.order("forget_task", task=task_ref)


class XenSimulator:
    """A simulator in a process of its own, with its data in `folder`. What it held is there again after `start`.

    `world` is the name of one, or one of the caller's own; it counts at the first start alone. The other options are
    those of `pool.Settings`.
    """

    username = "root"

    def __init__(
        self,
        folder: Path,
        *,
        world: str | World = "small",
        port: int = 0,
        member_of: str = "",
        step_seconds: float = 0.0,
        wait_seconds: float = 7200.0,
        collect_after: float = 0.0,
        session_seconds: float = 86400.0,
        request_seconds: float = 60.0,
    ) -> None:
        self.folder = folder
        self._world = world
        self.port = port
        self._options = [f"--step-seconds={step_seconds}", f"--wait-seconds={wait_seconds}"]
        self._options += [f"--collect-after={collect_after}", f"--session-seconds={session_seconds}"]
        self._options += [f"--request-seconds={request_seconds}"]
        self._options += [f"--member-of={member_of}"] if member_of else []
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        """Start it and wait until it serves. Raises RuntimeError when it does not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        world = self._world
        if not isinstance(world, str):
            path = self.folder / "world.json"
            path.write_text(json.dumps(world))
            world = str(path)
        command = [sys.executable, "-m", "hypervisors.xen_simulator", f"--data={self.folder}", f"--world={world}"]
        command += [f"--port={self.port}", *self._options]
        self.process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait(STOP_SECONDS)
            raise RuntimeError(f"The simulator ended with code {code} before it served; its words are above.")
        self.port = int(json.loads(line)["port"])
        return self

    def stop(self) -> None:
        """End it in order (SIGTERM), by SIGKILL where that takes too long. Nothing happens when it does not run."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._over()

    def kill(self) -> None:
        """End it by SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self._over()

    def wait_dead(self, seconds: float = 30.0) -> int:
        """Wait until it has died by itself, as `Control.die` orders; returns how."""
        assert self.process is not None  # noqa: S101 - it was started
        status = self.process.wait(seconds)
        self._over()
        return status

    def _over(self) -> None:
        if self.process is not None:
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None

    def restart(self) -> None:
        """Stop and start, with the same port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where XenAPI is spoken."""
        return f"https://{self.address}"

    @property
    def ca_path(self) -> Path:
        """The certificate authority, PEM."""
        return self.folder / "ca.pem"

    @property
    def ca_certificate(self) -> str:
        """The same as text."""
        return self.ca_path.read_text()

    @property
    def accounts(self) -> dict[str, Account]:
        """root (pool-admin), vmadmin (vm-admin), operator (vm-operator), viewer (read-only), with their passwords."""
        entries = json.loads((self.folder / "accounts.json").read_text())
        return {name: Account(**entry) for name, entry in entries.items()}

    @property
    def password(self) -> str:
        """The password of root."""
        return self.accounts[self.username].password

    @property
    def control(self) -> Control:
        """Its control door."""
        return Control(self.folder, self.port)
