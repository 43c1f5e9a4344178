"""The fleet counts whole families of real processes, and ends them."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path

import pytest

from bench import machine
from bench.fleet import Fleet, FleetError

# A parent that works in a child, in a thread of it, says so, and then waits.
FAMILY = """
import os, sys, threading, time
def work():
    while time.process_time() < 0.2: pass
child = os.fork()
if not child:
    thread = threading.Thread(target=work); thread.start(); thread.join()
    print(os.getpid(), flush=True)
    time.sleep(600)
os.waitpid(child, 0)
"""


def test_a_role_is_all_its_processes(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        fleet = stack.enter_context(Fleet(tmp_path))
        fleet.start("family", [sys.executable, "-c", FAMILY])
        child = int(fleet.line("family"))
        members = fleet.members("family")
        assert child in members
        assert os.getpid() not in members
        assert fleet.cpu_s()["family"] > 0.1
        assert fleet.pss_kib(["family"])["family"] > 1000
        fleet.check_alive()
        ended = [os.pidfd_open(pid) for pid in members]
        fleet.stop()
        for descriptor in ended:
            stack.callback(os.close, descriptor)
            assert select.select([descriptor], [], [], 30)[0]


def test_a_role_that_ends_is_named_with_its_log(tmp_path: Path) -> None:
    with Fleet(tmp_path) as fleet:
        fleet.start("quitter", [sys.executable, "-c", "import sys; sys.exit('no such gate')"])
        with pytest.raises(FleetError, match=r"quitter ended.*(?s:.*)no such gate"):
            fleet.wait("quitter", lambda: False)
        with pytest.raises(FleetError, match="quitter ended with 1"):
            fleet.check_alive()
        with pytest.raises(FleetError, match="quitter ended"):
            fleet.line("quitter")


def test_a_process_that_is_gone_counts_nothing() -> None:
    gone = {2**22 + 1}  # over the greatest pid there is
    assert machine.cpu_s(gone) == 0
    assert machine.pss_kib(gone) == 0
