"""docs/tour.md does what it says: its commands are run, and print what the page shows.

The page's own ports are replaced by free ones, everywhere alike, so that the tour also runs beside
a mesh that has them. All blocks share one bash, as they do for a reader.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
TOUR: Final = ROOT / "docs" / "tour.md"
TOUR_S: Final = 100.0
PORT: Final = re.compile(r"\b1[78]\d{3}\b")
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK: Final = "=== block"


class Block(NamedTuple):
    """One `sh` block and what the page says it prints, line by line."""

    commands: str
    shown: list[str]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, each with the `text` block behind it."""
    found: list[Block] = []
    for language, text in FENCE.findall(page):
        if language == "sh":
            found.append(Block(text, []))
        elif language == "text":
            found[-1].shown.extend(text.splitlines())
    return found


def on_free_ports(page: str) -> str:
    """The page with each of its ports replaced by one that is free."""
    names = sorted(set(PORT.findall(page)))
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in names]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        free = {
            name: str(probe.getsockname()[1]) for name, probe in zip(names, probes, strict=True)
        }
    return PORT.sub(lambda found: free[found.group()], page)


def script(of: list[Block]) -> str:
    """All blocks as one program that stops at the first failure and marks where each begins."""
    parts = ["set -eu"]
    for number, block in enumerate(of):
        parts += [f"echo '{MARK} {number}'", block.commands]
    return "\n".join(parts)


def pattern(line: str) -> re.Pattern[str]:
    """What a line of a `text` block stands for."""
    return re.compile(".*".join(map(re.escape, line.split("…"))))


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder with `narrowgate` and `python` as this interpreter has them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, words in {"python": "", "narrowgate": " -m sidecar"}.items():
        file = folder / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        file.chmod(0o755)
    return folder


@pytest.fixture
def tour(tmp_path: Path, commands: Path) -> Iterator[Callable[[str], str]]:
    """Runs a program in an empty folder and gives its output; ends all that it left running."""
    folder = tmp_path / "tour"
    folder.mkdir()
    kept = {name: text for name, text in os.environ.items() if "_proxy" not in name.lower()}
    kept["PATH"] = f"{commands}{os.pathsep}{kept['PATH']}"
    kept["PYTHONPATH"] = str(ROOT)
    started: list[subprocess.Popen[str]] = []

    def run(program: str) -> str:
        bash = subprocess.Popen(
            ["bash", "-c", program],
            cwd=folder,
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(bash)
        try:
            output, _ = bash.communicate(timeout=TOUR_S)
        except subprocess.TimeoutExpired:
            stop(bash)
            output, _ = bash.communicate()
        logs = "".join(f"--- {log.name}\n{log.read_text()}" for log in folder.glob("*.log"))
        if bash.returncode:
            pytest.fail(f"the tour ended with {bash.returncode}:\n{output}\n{logs}", pytrace=False)
        return output

    yield run
    for bash in started:
        stop(bash)
        bash.wait()


def stop(bash: subprocess.Popen[str]) -> None:
    """End a program with all that it started; the tour itself leaves nothing to end."""
    with suppress(ProcessLookupError):
        os.killpg(bash.pid, signal.SIGKILL)


@pytest.mark.timeout(TOUR_S + 30)
def test_the_tour_works(
    tour: Callable[[str], str], component: Callable[[str, str | None], str]
) -> None:
    for program in ("bash", "curl", "openssl"):
        component(program, shutil.which(program))
    listed = blocks(on_free_ports(TOUR.read_text(encoding="utf-8")))
    output = tour(script(listed))

    printed = re.split(rf"^{MARK} \d+\n", output, flags=re.MULTILINE)[1:]
    assert len(printed) == len(listed)
    for block, text in zip(listed, printed, strict=True):
        lines = iter(text.splitlines())
        for shown in block.shown:
            wanted = pattern(shown)
            assert any(wanted.fullmatch(line) for line in lines), (
                f"the page shows {shown!r} (in this order), but\n{block.commands}\nprints\n{text}"
            )


def test_every_text_block_stands_behind_its_commands() -> None:
    page = TOUR.read_text(encoding="utf-8")
    languages = [language for language, _ in FENCE.findall(page)]
    assert languages.count("sh") >= 10
    for before, language in pairwise(languages):
        assert language != "text" or before == "sh"
