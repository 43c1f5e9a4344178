"""Finds a real OPA: NARROWGATE_OPA, then PATH, then the packed one beside the repository."""

from __future__ import annotations

import lzma
import os
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKED = REPOSITORY.parent / "shared" / "tools" / "bin" / "opa.xz"
UNPACKED = REPOSITORY / ".cache" / "opa"


def find() -> Path | None:
    """The OPA binary, or `None` when this machine has none."""
    named = os.environ.get("NARROWGATE_OPA")
    if named:
        return Path(named).resolve() if os.access(named, os.X_OK) else None
    on_path = shutil.which("opa")
    if on_path:
        return Path(on_path)
    return _unpack() if PACKED.is_file() else None


def _unpack() -> Path:
    """The packed binary, unpacked once; whole or not at all."""
    if not UNPACKED.exists():
        UNPACKED.parent.mkdir(parents=True, exist_ok=True)
        partial = UNPACKED.with_suffix(f".{os.getpid()}")
        with lzma.open(PACKED) as packed, partial.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
        partial.chmod(0o755)
        partial.replace(UNPACKED)
    return UNPACKED


def required() -> bool:
    """In CI nothing may be skipped."""
    return os.environ.get("NARROWGATE_REQUIRE_ALL") == "1"
