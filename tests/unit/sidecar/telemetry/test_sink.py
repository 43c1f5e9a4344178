"""A sink never waits, never grows past its bound, and says what it lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.config_values import LogTarget
from sidecar.telemetry.sink import Sink, SinkState

LINE = b'{"n":1}\n'


@pytest.fixture
def file(tmp_path: Path) -> LogTarget:
    return LogTarget("file", tmp_path / "log")


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[LogTarget, int]]:
    """A named pipe and its reading end, which takes 4096 bytes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    # F_SETPIPE_SZ (1031): one page.
    import fcntl

    fcntl.fcntl(reader, 1031, 4096)
    yield LogTarget("file", path), reader
    os.close(reader)


def content(target: LogTarget) -> bytes:
    assert target.path is not None
    return target.path.read_bytes()


def test_lines_wait_for_a_flush_or_a_full_block(file: LogTarget) -> None:
    sink = Sink("access", file, block_bytes=3 * len(LINE))
    sink.append(LINE)
    assert content(file) == b""
    sink.flush()
    assert content(file) == LINE
    for _ in range(3):
        sink.append(LINE)
    assert content(file) == 4 * LINE
    assert sink.state is SinkState.WRITING


def test_a_file_is_appended_to_and_private(file: LogTarget) -> None:
    for _ in range(2):
        sink = Sink("access", file)
        sink.append(LINE)
        sink.close()
    assert content(file) == 2 * LINE
    assert file.path is not None
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_none_keeps_nothing() -> None:
    sink = Sink("access", LogTarget("none"))
    sink.append(LINE)
    sink.flush()
    sink.close()
    assert not sink.enabled
    assert sink.dropped == 0


def test_a_target_that_cannot_be_opened_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Sink("access", LogTarget("file", tmp_path / "absent" / "log"))


def test_a_blocked_reader_costs_lines_not_memory(pipe: tuple[LogTarget, int]) -> None:
    target, reader = pipe
    sink = Sink("access", target, block_bytes=1024, pending_bytes_max=2048)
    for _ in range(2000):
        sink.append(LINE)
    assert sink.state is SinkState.BLOCKED
    assert sink.dropped > 0
    read = b""
    while chunk := os.read(reader, 4096):
        read += chunk
        sink.flush()
        if sink.state is SinkState.WRITING:
            break
    read += os.read(reader, 4096)
    *lines, gap = read.splitlines(keepends=True)
    assert set(lines) == {LINE}
    assert json.loads(gap)["dropped"] == sink.dropped == 2000 - len(lines)
    assert json.loads(gap)["log"] == "access"


def test_lines_into_a_pipe_are_never_torn_between_writers(pipe: tuple[LogTarget, int]) -> None:
    """Each write to a pipe ends with a line and fits what POSIX keeps together."""
    target, reader = pipe
    sink = Sink("access", target)
    line = b"x" * 999 + b"\n"
    for _ in range(8):
        sink.append(line)
    sink.flush()
    assert os.read(reader, 65_536) == 4 * line
    sink.flush()
    assert os.read(reader, 65_536) == 4 * line


def test_a_reader_that_went_away(pipe: tuple[LogTarget, int], tmp_path: Path) -> None:
    target, _ = pipe
    path = tmp_path / "gone"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    sink = Sink("access", LogTarget("file", path))
    os.close(reader)
    sink.append(LINE)
    sink.flush()
    assert sink.state is SinkState.BROKEN
    sink.close()
    assert sink.dropped == 1
    assert target.kind == "file"


def test_a_full_disk_is_told_and_recovered_from() -> None:
    sink = Sink("decision", LogTarget("file", Path("/dev/full")), pending_bytes_max=3 * len(LINE))
    for _ in range(5):
        sink.append(LINE)
    sink.flush()
    assert sink.state is SinkState.FULL
    assert sink.dropped == 2


def test_no_half_line_is_lost_when_space_comes_back(file: LogTarget) -> None:
    """The file may not grow past a bound (a stand-in for a disk), then it may."""
    sink = Sink("decision", file)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(LINE) + 3, hard))
        for _ in range(3):
            sink.append(LINE)
        sink.flush()
        assert sink.state is SinkState.FULL
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    sink.flush()
    assert sink.state is SinkState.WRITING
    assert content(file) == 3 * LINE


def test_reopen_follows_the_name(file: LogTarget) -> None:
    assert file.path is not None
    sink = Sink("access", file)
    sink.append(LINE)
    file.path.rename(file.path.with_suffix(".1"))
    sink.reopen()
    sink.append(LINE + LINE)
    sink.close()
    assert file.path.with_suffix(".1").read_bytes() == LINE
    assert content(file) == 2 * LINE


CHILD = """
from sidecar.config_values import LogTarget
from sidecar.telemetry.sink import Sink
import os
sink = Sink("access", LogTarget("stdout"))
sink.append(b'{"n":1}' + bytes([10]))
sink.close()
print(os.get_blocking(1))
"""


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_stdout_stays_as_others_need_it(kind: str, tmp_path: Path) -> None:
    """Neither its blocking mode changes, nor do other writers overwrite our lines."""
    path = tmp_path / "out"
    with path.open("wb") as out:
        command = [sys.executable, "-c", CHILD]
        stdout = subprocess.PIPE if kind == "pipe" else out
        done = subprocess.run(command, stdout=stdout, check=True)
    written = done.stdout if kind == "pipe" else path.read_bytes()
    assert written == LINE + b"True\n"
