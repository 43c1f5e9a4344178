"""The real OPA for conformance tests, and the corpora; missing ones are named."""

from __future__ import annotations

import fcntl
import lzma
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.conformance.opa_process import running

os.environ.setdefault("RUST_BACKTRACE", "0")

REPO = Path(__file__).parents[2]


def absent(what: str) -> NoReturn:
    """Skip by name, or fail where everything is required."""
    if os.environ.get("NARROWGATE_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is required and missing")
    pytest.skip(f"{what} is missing")


def find_opa() -> Path | None:
    """The OPA binary: NARROWGATE_OPA, PATH, or the shared archive unpacked into `.cache`."""
    named = os.environ.get("NARROWGATE_OPA") or shutil.which("opa")
    if named:
        return Path(named)
    archive = REPO.parent / "shared" / "tools" / "bin" / "opa.xz"
    if not archive.exists():
        return None
    cache = REPO / ".cache"
    cache.mkdir(exist_ok=True)
    binary = cache / "opa"
    with (cache / "opa.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            partial = cache / "opa.partial"
            with lzma.open(archive) as source, partial.open("wb") as target:
                shutil.copyfileobj(source, target)
            partial.chmod(0o755)
            partial.rename(binary)
    return binary


@pytest.fixture(scope="session")
def opa_binary() -> Path:
    """The path of a real OPA."""
    binary = find_opa()
    if binary is None:
        absent("OPA (NARROWGATE_OPA or PATH)")
    return binary


@pytest.fixture
async def opa_socket(opa_binary: Path, tmp_path: Path) -> AsyncIterator[Path]:
    """The unix socket of a running OPA."""
    async with running(opa_binary, tmp_path / "opa.sock"):
        yield tmp_path / "opa.sock"


@pytest.fixture(scope="session")
def rego_corpus() -> Path:
    """OPA's own v1 conformance cases."""
    root = os.environ.get("NARROWGATE_CORPORA")
    folder = Path(root) if root else REPO.parent / "shared" / "data"
    corpus = folder / "rego" / "opa_v1_cases.json"
    if not corpus.exists():
        absent("the Rego corpus (NARROWGATE_CORPORA)")
    return corpus
