"""Several workers of one sidecar: start them, start again what died, stop them together.

Invariants: the parent serves nothing and holds no key; a worker that dies is replaced after a pause
that grows while it keeps dying; the workers end when the parent does.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Final

RESTART_S_MIN: Final = 0.2
RESTART_S_MAX: Final = 10.0
STEADY_S: Final = 30.0
_PR_SET_PDEATHSIG: Final = 1

log = logging.getLogger("narrowgate.supervisor")


def supervise(workers: int, work: Callable[[int], int]) -> int:
    """Run `work(index)` in a process for each worker until SIGTERM; returns the exit code."""
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True
        for pid in running:
            os.kill(pid, signal.SIGTERM)

    running: dict[int, tuple[int, float]] = {}
    pause_s = RESTART_S_MIN
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    for index in range(workers):
        running[_start(index, work)] = (index, time.monotonic())
    worst = 0
    while running:
        pid, status = os.wait()
        index, started_s = running.pop(pid, (-1, 0.0))
        code = os.waitstatus_to_exitcode(status)
        if stopping or index < 0:
            continue
        log.error("worker %d ended with %d: starting another", index, code)
        steady = time.monotonic() - started_s > STEADY_S
        pause_s = RESTART_S_MIN if steady else min(pause_s * 2, RESTART_S_MAX)
        worst = max(worst, abs(code))
        time.sleep(pause_s)
        if not stopping:
            running[_start(index, work)] = (index, time.monotonic())
    return 0 if stopping else worst


def _start(index: int, work: Callable[[int], int]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        code = work(index)
    except BaseException:
        log.exception("worker %d failed", index)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
