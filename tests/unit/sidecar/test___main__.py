"""`python -m sidecar` is the command, in a process of its own."""

from __future__ import annotations

import subprocess
import sys


def test_version_and_usage() -> None:
    command = [sys.executable, "-m", "sidecar"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "narrowgate")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: narrowgate")
