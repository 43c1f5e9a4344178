"""Several workers of one sidecar: start them, start again what died, stop them together.

Invariants: the parent serves nothing and holds no key; a worker that dies is replaced after a pause
that grows while it keeps dying; one that says it cannot start ends them all; the workers end when
the parent does.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

RESTART_S_MIN: Final = 0.2
RESTART_S_MAX: Final = 10.0
STEADY_S: Final = 30.0
CANNOT_START: Final = 78
"""What a worker process ends with when its `work` returned an error (EX_CONFIG of sysexits.h)."""
_PR_SET_PDEATHSIG: Final = 1
_STOPS: Final = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger("narrowgate.supervisor")


def supervise(workers: int, work: Callable[[int], int]) -> int:
    """Run `work(index)` in a process for each worker until SIGTERM.

    Returns 0 after an order to stop, 1 when a worker's `work` returned anything but 0.
    """
    return _Supervisor(workers, work).run()


class _Supervisor:
    """The parent's view of its workers."""

    def __init__(self, workers: int, work: Callable[[int], int]) -> None:
        self._workers = workers
        self._work = work
        self._running: dict[int, tuple[int, float]] = {}
        self._stopping = False
        self._pause_s = RESTART_S_MIN

    def run(self) -> int:
        for number in _STOPS:
            signal.signal(number, self._stop)
        for index in range(self._workers):
            self._start(index)
        failed = False
        while self._running:
            pid, status = os.wait()
            index, started_s = self._running.pop(pid, (-1, 0.0))
            code = os.waitstatus_to_exitcode(status)
            if self._stopping or index < 0:
                continue
            if code == CANNOT_START:
                failed = True
                self._stop()
            else:
                self._replace(index, code, started_s)
        return 1 if failed else 0

    def _replace(self, index: int, code: int, started_s: float) -> None:
        log.error("worker %d ended with %d: starting another", index, code)
        steady = time.monotonic() - started_s > STEADY_S
        self._pause_s = RESTART_S_MIN if steady else min(self._pause_s * 2, RESTART_S_MAX)
        time.sleep(self._pause_s)
        if not self._stopping:
            self._start(index)

    def _stop(self, _number: int = 0, _frame: object = None) -> None:
        self._stopping = True
        for pid in self._running:
            with suppress(ProcessLookupError):  # it has just been reaped
                os.kill(pid, signal.SIGTERM)

    def _start(self, index: int) -> None:
        """Fork; an order to stop waits until the child is known, and never runs in the child."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
        try:
            if not self._stopping:
                pid = _fork(index, self._work, before)
                self._running[pid] = (index, time.monotonic())
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _fork(index: int, work: Callable[[int], int], mask: set[signal.Signals | int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for number in _STOPS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() == parent:
            code = CANNOT_START if work(index) else 0
    except BaseException:
        log.exception("worker %d failed", index)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
