"""Where log lines go: batched, bounded, never in the way of a call.

Invariants: `append` and `flush` never wait and never raise for what the target does; memory is at
most `pending_bytes_max`; a line that does not fit is dropped whole, counted, and the gap is written
down as soon as the target takes lines again. Only whole lines are ever dropped.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from enum import Enum
from typing import Final

from sidecar.config_values import LogTarget

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_STDOUT: Final = 1
# POSIX: a pipe takes this much in one piece, so lines of several writers do not mix.
_PIPE_BYTES: Final = select.PIPE_BUF


class SinkState(Enum):
    """Whether lines get through: `blocked` has no reader, `full` no space, `broken` no target."""

    WRITING = "writing"
    BLOCKED = "blocked"
    FULL = "full"
    BROKEN = "broken"


class Sink:
    """One log's lines on their way to a file, a pipe or nowhere."""

    def __init__(
        self,
        name: str,
        target: LogTarget,
        *,
        block_bytes: int = 65_536,
        pending_bytes_max: int = 1 << 20,
    ) -> None:
        """`name` is the label of `narrowgate_log_dropped_total`.

        Raises OSError when the target cannot be opened.
        """
        self.name: Final = name
        self.enabled: Final = target.kind != "none"
        self.state = SinkState.WRITING
        self.dropped = 0
        self._target: Final = target
        self._block_bytes: Final = block_bytes
        self._pending_bytes_max: Final = pending_bytes_max
        self._pending = bytearray()
        self._gap = 0
        self._output: _Output | None = _Output(target) if self.enabled else None

    def append(self, line: bytes) -> None:
        """Keep one line, newline included; write when a block is full."""
        if self._output is None:
            return
        pending = self._pending
        if self._gap or len(pending) + len(line) > self._pending_bytes_max:
            self.dropped += 1
            self._gap += 1
            return
        pending += line
        if len(pending) >= self._block_bytes and self.state is SinkState.WRITING:
            self.flush()

    def flush(self) -> None:
        """Write what is pending as far as the target takes it now."""
        if self._output is None:
            return
        self._write()
        if self._gap and not self._pending:
            self._pending += self._gap_line()
            self._gap = 0
            self._write()

    def reopen(self) -> None:
        """Open the file again by its name, after it was moved away. Raises OSError."""
        if self._output is not None:
            self.flush()
            fresh = _Output(self._target)
            self._output.close()
            self._output = fresh

    def close(self) -> None:
        """Flush once and let go; what the target does not take is dropped and counted."""
        self.flush()
        self.dropped += self._pending.count(b"\n")
        self._pending.clear()
        if self._output is not None:
            self._output.close()
            self._output = None

    def _write(self) -> None:
        pending, written = self._pending, 0
        try:
            while self._output is not None and written < len(pending):
                written += self._output.write(pending, written)
            self.state = SinkState.WRITING
        except BlockingIOError:
            self.state = SinkState.BLOCKED
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            self.state = SinkState.FULL if full else SinkState.BROKEN
        del pending[:written]

    def _gap_line(self) -> bytes:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return f'{{"time":"{now}","log":"{self.name}","dropped":{self._gap}}}\n'.encode()


class _Output:
    """An open target that writes without waiting."""

    def __init__(self, target: LogTarget) -> None:
        self._fd, self._may_wait = _open(target)
        self._whole_lines: Final = not stat.S_ISREG(os.fstat(self._fd).st_mode)

    def write(self, pending: bytearray, start: int) -> int:
        """Write from `start`; returns the bytes taken. Raises OSError, BlockingIOError if full."""
        end = len(pending)
        if self._whole_lines and end - start > _PIPE_BYTES:
            end = pending.rfind(b"\n", start, start + _PIPE_BYTES) + 1 or start + _PIPE_BYTES
        if self._may_wait and not _takes(self._fd):
            raise BlockingIOError
        return os.write(self._fd, bytes(pending[start:end]))

    def close(self) -> None:
        os.close(self._fd)


def _takes(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


def _open(target: LogTarget) -> tuple[int, bool]:
    """A descriptor of our own, and whether a write to it could wait.

    Standard output is shared with other processes, and so is its blocking mode: a pipe or terminal
    is opened a second time. A regular file is not (its offset is shared for a reason), nor is what
    belongs to another user or is a socket: these are asked before each write.
    """
    if target.path is not None:
        return os.open(target.path, _FLAGS | os.O_CREAT, 0o600), False
    mode = os.fstat(_STDOUT).st_mode
    if not stat.S_ISREG(mode):
        try:
            return os.open("/proc/self/fd/1", _FLAGS), False
        except OSError:
            return os.dup(_STDOUT), True
    return os.dup(_STDOUT), False
