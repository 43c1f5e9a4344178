"""The processes of a run by role: start, wait until they serve, count, and end exactly them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench import machine

READY_S: Final = 30.0
_POLL_S: Final = 0.02
_GRACE_S: Final = 5.0


class FleetError(RuntimeError):
    """A role did not start, did not become ready, or died; the message says where its log is."""


class Fleet:
    """Roles of one run. Each leads a session of its own, so that its children are known."""

    def __init__(self, directory: Path) -> None:
        self._directory: Final = directory
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._kept: Final = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, role: str, command: Sequence[str], *, cwd: Path | None = None) -> None:
        """Start `command`; it writes `<role>.out` and `<role>.log`, output and errors."""
        with self._file(role, "out").open("wb") as out, self._file(role, "log").open("wb") as log:
            self._processes[role] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=cwd,
                start_new_session=True,
            )

    def keep(self, resource: AbstractContextManager[object]) -> None:
        """Leave `resource` open until the fleet stops."""
        self._kept.enter_context(resource)

    def line(self, role: str, number: int = 0) -> str:
        """The line `number` that `role` prints, waited for.

        Raises:
            FleetError: it ended before it printed that line, or took too long.
        """

        def printed() -> list[str]:
            lines = self._file(role, "out").read_text().splitlines(keepends=True)
            return [line for line in lines if line.endswith("\n")]

        self.wait(role, lambda: len(printed()) > number)
        return printed()[number]

    def wait(self, role: str, ready: Callable[[], bool]) -> None:
        """Wait until `ready()` holds while `role` lives.

        Raises:
            FleetError: `role` ended, or it did not hold in time.
        """
        until = time.monotonic() + READY_S
        pause = threading.Event()
        while not ready():
            if self._processes[role].poll() is not None:
                raise FleetError(f"{role} ended; {self.log(role)}")
            if time.monotonic() > until:
                raise FleetError(f"{role} is not ready; {self.log(role)}")
            pause.wait(_POLL_S)

    def log(self, role: str) -> str:
        """Where the log of `role` is, and how it ends."""
        path = self._file(role, "log")
        return f"see {path}:\n{path.read_text(errors='replace')[-2000:]}"

    def _file(self, role: str, kind: str) -> Path:
        return self._directory / f"{role}.{kind}"

    def members(self, role: str) -> set[int]:
        return machine.family(self._processes[role].pid)

    def cpu_s(self) -> dict[str, float]:
        """Seconds of CPU of each role so far."""
        return {role: machine.cpu_s(self.members(role)) for role in self._processes}

    def pss_kib(self, roles: Sequence[str]) -> dict[str, int]:
        return {role: machine.pss_kib(self.members(role)) for role in roles}

    def check_alive(self) -> None:
        """Raises `FleetError` when a role has ended."""
        for role, process in self._processes.items():
            if process.poll() is not None:
                raise FleetError(f"{role} ended with {process.returncode}; {self.log(role)}")

    def stop(self) -> None:
        """End every process that was started here, youngest role first: politely, then not."""
        self._kept.close()
        for process in reversed(self._processes.values()):
            members = machine.family(process.pid)
            _signal(members, signal.SIGTERM)
            try:
                process.wait(_GRACE_S)
            except subprocess.TimeoutExpired:
                _signal(members, signal.SIGKILL)
                process.wait()
            _signal({pid for pid in members if pid != process.pid}, signal.SIGKILL)
        self._processes.clear()


def _signal(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def listening(port: int) -> Callable[[], bool]:
    """A check whether something accepts connections on loopback `port`."""

    def check() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    return check


def answers(port: int, path: str) -> Callable[[], bool]:
    """A check whether GET `path` on loopback `port` is answered 200."""

    def check() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return check


def write_json(path: Path, value: object) -> Path:
    path.write_text(json.dumps(value, indent=1))
    return path
