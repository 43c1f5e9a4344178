"""The machine under the bench: a network namespace of its own, one core, and what `/proc` counts.

Every role of a run shares one core, the load generator included: no idle core to wake and no
migration, so that CPU per request is steady where wall-clock time is not.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
_INSIDE: Final = "NARROWGATE_BENCH_NAMESPACE"


def inside_namespace() -> bool:
    """Whether this process runs in a network namespace that the bench made."""
    return _INSIDE in os.environ


def enter_namespace() -> NoReturn:
    """Start this program again inside a network namespace with only loopback; needs root."""
    os.environ[_INSIDE] = "1"
    script = 'ip link set lo up && exec "$@"'
    again = [sys.executable, "-m", "bench.run", *sys.argv[1:]]
    os.execvp("unshare", ["unshare", "--net", "--", "sh", "-c", script, "sh", *again])


def pin(core: int | None) -> int:
    """Keep this process and its children on one core, by default the last one we may use."""
    allowed = sorted(os.sched_getaffinity(0))
    chosen = allowed[-1] if core is None else core
    os.sched_setaffinity(0, {chosen})
    return chosen


def family(leader: int) -> set[int]:
    """Every live process of the session that `leader` leads, and all descendants of those."""
    table: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            table[int(entry.name)] = (int(fields[1]), int(fields[3]))
    members = {pid for pid, (_, session) in table.items() if leader in (session, pid)}
    while more := {pid for pid, (parent, _) in table.items() if parent in members} - members:
        members |= more
    return members


def cpu_s(pids: set[int]) -> float:
    """Seconds of CPU, user and kernel, of all threads of `pids` and of their ended children."""
    return sum(sum(map(int, fields[11:15])) for pid in pids if (fields := _stat(pid))) * _TICK_S


def busy_s(core: int) -> float:
    """Seconds that anybody used `core` for; 0 where the kernel does not say."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, ticks)
            return (user + nice + system + irq + softirq) * _TICK_S
    return 0.0


def pss_kib(pids: set[int]) -> int:
    """Proportional set size in KiB: pages that processes share are divided among them."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; empty when the process has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text[text.rindex(")") + 2 :].split()


def is_root() -> bool:
    return os.geteuid() == 0
