"""The demo as a test: the whole shop, every scenario, and nothing left running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from examples.commerce import configuration, mesh, opa
from examples.commerce.client import get, plain
from examples.commerce.configuration import Role, Surroundings
from examples.commerce.processes import Processes, ProcessFailed
from examples.commerce.scenarios import GROUPS
from examples.commerce.scenarios.outcome import title
from examples.commerce.topology import held_ports, places
from sidecar.cli import INTERRUPTED
from sidecar.config import load

DEMO_S = 300.0


def _environment(folder: Path) -> dict[str, str]:
    """Ours, with a folder of its own for everything temporary, by which leftovers are found."""
    return {**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(opa.REPOSITORY)}


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.commerce.demo", *arguments],
        env=_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _running_with(folder: Path) -> list[str]:
    """Command lines of live processes that were started with `folder` as TMPDIR."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            environment = (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it ended, or is somebody else's
        if str(folder).encode() in environment and command:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.mark.timeout(DEMO_S + 60)
def test_every_scenario_is_as_expected(tmp_path: Path) -> None:
    demo = _start(tmp_path)
    output, _ = demo.communicate(timeout=DEMO_S)
    assert demo.returncode == 0, output
    assert "DIFFERS" not in output
    if opa.required():
        assert "skipped" not in output, output
    for group in GROUPS:
        for scenario in group.scenarios:
            assert title(scenario) in output
    assert _running_with(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, number: int) -> None:
    demo = _start(tmp_path, "--only", "1")
    stream = demo.stdout
    assert stream is not None
    for line in stream:
        if "sidecars" in line:
            break
    demo.send_signal(number)
    rest, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130, rest
    assert _running_with(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_written_configurations_are_accepted(tmp_path: Path) -> None:
    around = Surroundings(tmp_path, 17010, tmp_path / "authority.sock")
    place = places(("orders",), range(18001, 18007))["orders"]
    for role in (
        Role(),
        Role(edge=True, workers=2),
        Role(opa_socket=tmp_path / "opa.sock"),
        Role(unix_attestation=True),
    ):
        config = load(configuration.write(place, around, role))
        assert config.workload.uri == place.id
        assert (config.edge is not None) == role.edge


def test_held_ports_are_for_who_asks_by_number() -> None:
    with held_ports(3) as ports:
        assert len(set(ports)) == 3
        for port in ports:
            assert str(plain(port, get("/"))) == "nobody listens"
            with socket.create_server(("127.0.0.1", port)):
                socket.create_connection(("127.0.0.1", port)).close()


def test_an_interrupted_command_interrupts_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh, "narrowgate", lambda _arguments: INTERRUPTED)
    shop = mesh.Mesh(lambda _text: None)
    with pytest.raises(KeyboardInterrupt):
        shop.__enter__()
    assert not shop.folder.exists()


def test_a_child_that_fails_is_shown_with_its_last_words(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "print('no such luck'); raise SystemExit(3)"]
    with Processes(tmp_path) as processes:
        processes.start("unlucky", argv, {})
        with pytest.raises(ProcessFailed, match=r"exited with 3\n.*no such luck"):
            processes.wait_for("unlucky", lambda: False, 30)


def test_a_child_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    stubborn = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print('child', child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with Processes(tmp_path / "logs", stop_s=0.2) as processes:
        argv = [sys.executable, "-c", stubborn]
        processes.start("stubborn", argv, {"TMPDIR": str(tmp_path)})
        log = processes.log_path("stubborn")
        processes.wait_for("stubborn", lambda: "child" in log.read_text(), 30)
        assert len(_running_with(tmp_path)) == 2
    end_s = time.monotonic() + 30
    while _running_with(tmp_path) and time.monotonic() < end_s:
        time.sleep(0.02)  # the kernel is still ending the orphan
    assert _running_with(tmp_path) == []


def test_titles_are_short_and_different() -> None:
    titles = [title(scenario) for group in GROUPS for scenario in group.scenarios]
    assert len(set(titles)) == len(titles)
    assert max(map(len, titles)) <= 80
