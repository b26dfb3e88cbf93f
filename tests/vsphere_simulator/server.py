"""The simulator as an object: a child process that holds the vSphere inventory described by a `World`, speaks SOAP over
TLS on 127.0.0.1, and takes commands from its parent. It ends with its parent, however that ends.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.ports import HeldPort

from .binary import built
from .certificates import Certificates, make_certificates
from .commands import Commands, SimulatorError, for_go
from .world import World

READY_WITHIN_SECONDS = 60.0
ANSWER_WITHIN_SECONDS = 60.0
END_WITHIN_SECONDS = 10.0


class VsphereSimulator(Commands):
    """A simulator in `folder`, which holds its certificates and datastores and is the caller's to delete.

    As a context manager it runs inside the block. `port` 0 lets the system choose at the first start; later starts of
    the same object take the same one again, which is nobody else's until `stop`.
    """

    def __init__(
        self,
        folder: Path,
        world: World | None = None,
        *,
        certificates: Certificates | None = None,
        program: Path | None = None,
        port: int = 0,
    ) -> None:
        self.folder = folder.resolve()
        self.world = world or World()
        self.certificates = certificates or make_certificates(self.folder / "tls")
        self.port = port
        self._program = program
        self._held_port: HeldPort | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._unread = b""

    # Where it is and how to get in

    @property
    def url(self) -> str:
        """The address of its SOAP service."""
        return f"{self.address}/sdk"

    @property
    def address(self) -> str:
        """The address as an endpoint of kind `vmware` takes it."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def username(self) -> str:
        return self.world.username

    @property
    def password(self) -> str:
        return self.world.password

    @property
    def ca_certificate(self) -> str:
        """The certificate (PEM) to trust."""
        return self.certificates.authority_pem()

    # Its life

    def start(self) -> Self:
        """Start it unless it runs; returns once it listens. Raises `SimulatorError`, and `CannotBuild` where there is no
        program."""
        if self._child is not None:
            return self
        if not self.port:
            self._held_port = HeldPort()
            self.port = self._held_port.number
        program = self._program or built()
        temporary = self.folder / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed one left
        temporary.mkdir(mode=0o700, parents=True)
        self._unread = b""
        self._child = subprocess.Popen(
            [program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"TMPDIR": str(temporary), "PATH": os.defpath},
            bufsize=0,
        )
        try:
            ready = self._exchange(self._settings(), READY_WITHIN_SECONDS)
            self.port = urlsplit(ready["url"]).port or 0
        except BaseException:
            self.kill()
            raise
        return self

    def alive(self) -> bool:
        """Whether its process runs."""
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        """Let it end in order; a deaf one is killed. Its port may be given to others from then on."""
        if self._held_port is not None:
            self._held_port.let_go()
        child = self._child
        if child is None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            child.wait(END_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            print("the vSphere simulator did not end by itself", file=sys.stderr)
        self.kill()

    def kill(self) -> None:
        """End it as a power cut would: no answer to whoever waits for one, nothing tidied up by itself."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            assert stream is not None
            stream.close()
        shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    def restart(self) -> None:
        """Kill it and start it again on the same port: sessions and tasks are lost."""
        self.kill()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Commands

    def command(self, do: str, **fields: Any) -> Any:
        """Have it carry out a command of `launcher/control.go` and give the result. Raises `SimulatorError`."""
        answer = self._exchange({"do": do, **for_go(fields)}, ANSWER_WITHIN_SECONDS)
        if error := answer.get("error"):
            raise SimulatorError(error)
        return answer.get("result")

    def _settings(self) -> dict[str, Any]:
        settings = asdict(self.world)
        settings.update(
            folder=str(self.folder / "tmp"),
            listen=f"127.0.0.1:{self.port}",
            certificate=str(self.certificates.certificate),
            key=str(self.certificates.key),
        )
        converted: dict[str, Any] = for_go(settings)
        return converted

    def _exchange(self, line: dict[str, Any], within_seconds: float) -> dict[str, Any]:
        """Send a line, read the answer's."""
        child = self._child
        if child is None:
            raise SimulatorError("it is not running")
        assert child.stdin is not None
        assert child.stdout is not None
        deadline = time.monotonic() + within_seconds
        try:
            child.stdin.write(json.dumps(line).encode() + b"\n")
        except BrokenPipeError:
            raise SimulatorError("it has ended; its words are on standard error") from None
        while b"\n" not in self._unread:
            readable, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not readable:
                raise SimulatorError(f"it did not answer within {within_seconds:g} seconds")
            chunk = child.stdout.read(65536)
            if not chunk:
                raise SimulatorError("it has ended; its words are on standard error")
            self._unread += chunk
        answer, _, self._unread = self._unread.partition(b"\n")
        decoded: dict[str, Any] = json.loads(answer)
        return decoded
