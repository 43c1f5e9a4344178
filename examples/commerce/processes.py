"""Child processes, each in its own process group, none of which outlives its owner.

Every child writes to a log file. Waiting is for events: a condition is polled every 20 ms and
given up as soon as the child it depends on has exited.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

POLL_S = 0.02
STOP_S = 5.0
TAIL_LINES = 12


class ProcessFailed(RuntimeError):
    """A child did not come up, or exited although it was needed; the message has its last lines."""


class Processes:
    """Starts, stops and reaps children by name. Leaving the `with` block ends all of them."""

    def __init__(self, log_directory: Path, *, stop_s: float = STOP_S) -> None:
        """`stop_s`: how long a child may take over its SIGTERM."""
        self._stop_s = stop_s
        self._logs = log_directory
        self._logs.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_all()

    def log_path(self, name: str) -> Path:
        """Where a child's standard output and error go."""
        return self._logs / f"{name}.log"

    def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start a child in its own session, hence its own process group."""
        if name in self._running:
            raise ProcessFailed(f"{name} is running already")
        with self.log_path(name).open("ab") as log:
            self._running[name] = self._spawn(argv, environment, log)

    def _spawn(
        self, argv: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def names(self) -> list[str]:
        """The children that were started and not stopped."""
        return list(self._running)

    def group(self, name: str) -> int:
        """The process group of a running child."""
        return self._running[name].pid

    def wait_for(self, name: str, condition: Callable[[], bool], within_s: float) -> None:
        """Wait until `condition()` holds; raise `ProcessFailed` if the child exits or is late."""
        end_s = time.monotonic() + within_s
        while not condition():
            code = self._running[name].poll()
            if code is not None:
                raise ProcessFailed(f"{name} exited with {code}\n{self._tail(name)}")
            if time.monotonic() > end_s:
                raise ProcessFailed(f"{name} not ready in {within_s:g} s\n{self._tail(name)}")
            time.sleep(POLL_S)

    def stop(self, name: str) -> None:
        """SIGTERM to the group, SIGKILL after `stop_s`, reaped."""
        self._end([name], signal.SIGTERM)

    def kill(self, name: str) -> None:
        """SIGKILL to the group, reaped."""
        self._end([name], signal.SIGKILL)

    def stop_all(self) -> None:
        """Stop every child, the last started first; Ctrl-C is held back meanwhile."""
        held = {
            number: signal.signal(number, signal.SIG_IGN)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            self._end(list(reversed(self._running)), signal.SIGTERM)
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)

    def _end(self, names: Sequence[str], number: signal.Signals) -> None:
        children = [self._running.pop(name) for name in names if name in self._running]
        for child in children:
            _signal_group(child.pid, number)
        end_s = time.monotonic() + self._stop_s
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, end_s - time.monotonic()))
        for child in children:  # also a group whose leader left something behind
            _signal_group(child.pid, signal.SIGKILL)
            child.wait()

    def _tail(self, name: str) -> str:
        lines = self.log_path(name).read_text(errors="replace").splitlines()
        return "\n".join(f"    {name}: {line}" for line in lines[-TAIL_LINES:])


def _signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
