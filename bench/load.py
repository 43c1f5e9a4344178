"""One window of load by wrk, and what it cost each role."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench import machine
from bench.fleet import Fleet

_SCRIPT: Final = Path(__file__).with_name("load.lua")
_US: Final = 1e6


class LoadError(RuntimeError):
    """The load did not run, or was not answered as it should be."""


@dataclass(frozen=True)
class Target:
    """Where a variant takes its load.

    Fields:
        name: of the variant.
        port: loopback port of its first hop.
        host: the `Host` to send.
        request_id: the `x-request-id` to send.
        proxies: roles between the load and the application.
        others: further roles of the variant, not on the request path.
    """

    name: str
    port: int
    host: str
    request_id: str = "0f9e8d7c6b5a49382716f5e4d3c2b1a0"
    proxies: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """What one window of load measured.

    Fields:
        requests_per_s, p50_us, p99_us: as the client saw it.
        requests: how many were answered.
        cpu_us: CPU microseconds per request by role, `wrk` included.
        proxies_us: the sum over the proxies of the variant.
        foreign: share of the core that went to anything outside the run.
    """

    target: str
    requests: int
    requests_per_s: float
    p50_us: int
    p99_us: int
    cpu_us: dict[str, float]
    proxies_us: float
    foreign: float

    def document(self) -> dict[str, object]:
        return asdict(self)


def run(fleet: Fleet, target: Target, *, connections: int, window_s: int, core: int) -> Window:
    """Load `target` for `window_s` seconds over `connections` kept-alive connections.

    Raises:
        LoadError: wrk failed, or an answer was not 2xx, or a connection broke: such a window
            measures refusals and is worth nothing.
    """
    cpu, busy, own, began = fleet.cpu_s(), machine.busy_s(core), time.process_time(), time.time()
    result, wrk_s = _wrk(target, connections, window_s)
    after = fleet.cpu_s()
    spent = {role: after[role] - cpu[role] for role in cpu} | {"wrk": wrk_s}
    ours_s = sum(spent.values()) + time.process_time() - own
    foreign_s = max(0.0, machine.busy_s(core) - busy - ours_s)
    requests = result["requests"]
    if not requests or result["refused"] or result["broken"]:
        raise LoadError(f"{target.name}: not every answer was 2xx: {result}")
    cpu_us = {role: seconds / requests * _US for role, seconds in spent.items()}
    return Window(
        target=target.name,
        requests=requests,
        requests_per_s=requests / result["duration_us"] * _US,
        p50_us=result["p50_us"],
        p99_us=result["p99_us"],
        cpu_us=cpu_us,
        proxies_us=sum(cpu_us[role] for role in target.proxies),
        foreign=foreign_s / (time.time() - began),
    )


def _wrk(target: Target, connections: int, window_s: int) -> tuple[dict[str, int], float]:
    """`(what load.lua reports, CPU seconds of wrk itself)`."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{window_s}s", "--timeout", "10s"]
    process = subprocess.Popen(
        [*command, "-s", str(_SCRIPT), f"http://127.0.0.1:{target.port}/charge"],
        stdout=subprocess.PIPE,
        env={**os.environ, "BENCH_HOST": target.host, "BENCH_REQUEST_ID": target.request_id},
    )
    before = os.times()
    try:
        out, _ = process.communicate()
    finally:
        process.kill()  # does nothing to one that has ended
        process.wait()
    after = os.times()
    lines = [line for line in out.decode().splitlines() if line.startswith("RESULT ")]
    if process.returncode or not lines:
        raise LoadError(f"wrk failed: {out.decode()}")
    spent_s = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    return json.loads(lines[0].removeprefix("RESULT ")), spent_s
