"""Several workers and their parent, as real processes: restarted, stopped, given up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.mesh import ROOT

PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from sidecar import supervisor
supervisor.RESTART_S_MIN = 0.01
folder = Path(sys.argv[1])
def work(index):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    (folder / f"{os.getpid()}.{index}.worker").touch()
    %s
sys.exit(supervisor.supervise(2, work))
"""
WAITS = "signal.sigwait({signal.SIGTERM}); (folder / f'{os.getpid()}.ended').touch(); return 0"


class Family:
    """The supervisor's process and what its workers left behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def start(self, work: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM % work, str(self.folder)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )

    def workers(self) -> dict[int, int]:
        """Every worker that ever ran: pid to index."""
        names = [path.name.split(".") for path in self.folder.glob("*.worker")]
        return {int(pid): int(index) for pid, index, _ in names}

    def until(self, condition: Callable[[], object]) -> None:
        assert self.process is not None
        end_s = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < end_s
            assert self.process.poll() is None
            time.sleep(0.01)

    def end(self) -> tuple[int, str]:
        assert self.process is not None
        _, said = self.process.communicate(timeout=20)
        return self.process.returncode, said


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    made = Family(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.communicate()
    for pid in made.workers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_sigterm_ends_every_worker_in_order_and_then_the_parent(family: Family) -> None:
    family.start(WAITS)
    family.until(lambda: len(family.workers()) == 2)
    assert family.process is not None
    family.process.terminate()
    assert family.end()[0] == 0
    ended = {int(path.name.split(".")[0]) for path in family.folder.glob("*.ended")}
    assert ended == set(family.workers())
    assert sorted(family.workers().values()) == [0, 1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_is_replaced_under_its_index(
    family: Family, number: signal.Signals
) -> None:
    family.start(WAITS)
    family.until(lambda: len(family.workers()) == 2)
    (victim,) = [pid for pid, index in family.workers().items() if index == 1]
    os.kill(victim, number)
    family.until(lambda: len(family.workers()) == 3)
    assert sorted(family.workers().values()) == [0, 1, 1]
    assert family.process is not None
    family.process.terminate()
    code, said = family.end()
    assert code == 0
    assert f"worker 1 ended with {-number}" in said


def test_a_worker_that_raises_is_replaced_and_its_error_written(family: Family) -> None:
    family.start(f"if index and len(list(folder.glob('*.1.worker'))) < 4: 1 / 0\n    {WAITS}")
    family.until(lambda: list(family.workers().values()).count(1) == 4)
    assert list(family.workers().values()).count(0) == 1
    assert family.process is not None
    family.process.terminate()
    code, said = family.end()
    assert code == 0
    assert said.count("ZeroDivisionError") == 3


def test_one_that_cannot_start_ends_them_all(family: Family) -> None:
    family.start(f"if index: return 1\n    {WAITS}")
    code, said = family.end()
    assert code == 1
    assert "Traceback" not in said


def test_workers_end_when_the_parent_is_killed(family: Family) -> None:
    family.start(WAITS)
    family.until(lambda: len(family.workers()) == 2)
    assert family.process is not None
    family.process.kill()
    end_s = time.monotonic() + 20
    while len(list(family.folder.glob("*.ended"))) < 2:
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_an_order_to_stop_while_workers_keep_dying_is_heeded(family: Family) -> None:
    family.start("os._exit(9)")
    family.until(lambda: len(family.workers()) > 3)
    assert family.process is not None
    family.process.terminate()
    assert family.end()[0] == 0
