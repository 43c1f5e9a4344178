"""Policies: the Rego sources and data that the authority hands to each workload.

Invariants: a policy is stored and sent whole, named by the SHA-256 of its content; the authority
does not judge Rego (`narrowgate policy check` does, and every sidecar refuses what it cannot
evaluate); a workload without a policy of its own gets the mesh default, or none, which denies.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from ca.entries import EntryError, require
from ca.spiffe.ids import SpiffeId

DEFAULT: Final = ""
POLICY_BYTES_MAX: Final = 1024 * 1024
_FILES_MAX: Final = 512
_DATA_FILES: Final = ("data.json", "data.yaml", "data.yml")


class PolicyFilesError(ValueError):
    """The directory does not hold a policy; the text names the file."""


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """Modules by relative path, and the data document."""

    modules: dict[str, str]
    data: dict[str, object]

    @property
    def revision(self) -> str:
        """SHA-256 of the canonical content, hexadecimal."""
        content = {"modules": self.modules, "data": self.data}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_directory(folder: Path) -> PolicyFiles:
    """Read `**/*.rego` (not `*_test.rego`) and `**/data.{json,yaml}`, as OPA lays bundles out."""
    if not folder.is_dir():
        raise PolicyFilesError(f"{folder} is not a directory")
    modules: dict[str, str] = {}
    data: dict[str, object] = {}
    size_bytes = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_module = path.suffix == ".rego" and not path.name.endswith("_test.rego")
        if not path.is_file() or not (is_module or path.name in _DATA_FILES):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise PolicyFilesError(f"{name} leads out of {folder}")
        text = _text(path, name)
        size_bytes += len(text.encode())
        if size_bytes > POLICY_BYTES_MAX or len(modules) >= _FILES_MAX:
            raise PolicyFilesError(f"a policy has at most {POLICY_BYTES_MAX} bytes")
        if is_module:
            modules[name] = text
        else:
            _place(data, path.relative_to(folder).parts[:-1], _document(text, name), name)
    if not modules:
        raise PolicyFilesError(f"{folder} holds no .rego file")
    return PolicyFiles(modules, data)


def put(
    rows: sqlite3.Connection, workload: SpiffeId | None, files: PolicyFiles, now_s: float
) -> None:
    """Set the policy of a registered workload, or the mesh default; raise `EntryError`."""
    if workload is not None:
        require(rows, workload)
    rows.execute(
        "INSERT OR REPLACE INTO policies VALUES (?, ?, ?, ?, ?)",
        (
            DEFAULT if workload is None else workload.uri,
            files.revision,
            json.dumps(files.modules),
            json.dumps(files.data),
            now_s,
        ),
    )


def delete(rows: sqlite3.Connection, workload: SpiffeId | None) -> None:
    """Take a policy away; raise `EntryError` when there is none."""
    scope = DEFAULT if workload is None else workload.uri
    if rows.execute("DELETE FROM policies WHERE scope = ?", (scope,)).rowcount == 0:
        raise EntryError(f"{scope or 'the mesh'} has no policy")


def sections(rows: sqlite3.Connection) -> dict[str, dict[str, object]]:
    """Return the `policy` section by scope; `DEFAULT` is the mesh default."""
    return {
        scope: {"revision": revision, "modules": json.loads(modules), "data": json.loads(data)}
        for scope, revision, modules, data in rows.execute(
            "SELECT scope, revision, modules, data FROM policies"
        )
    }


def _text(path: Path, name: str) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyFilesError(f"{name}: cannot read it as UTF-8 text") from error


def _document(text: str, name: str) -> object:
    try:
        value: object = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise PolicyFilesError(f"{name}: {error}") from error
    return value


def _place(root: dict[str, object], folders: tuple[str, ...], value: object, name: str) -> None:
    """Put a data document under the path of its folder; refuse two values for one place."""
    for folder in reversed(folders):
        value = {folder: value}
    if not isinstance(value, dict):
        raise PolicyFilesError(f"{name}: the top of the data is an object")
    _merge(root, value, name)


def _merge(into: dict[str, object], more: dict[str, object], name: str) -> None:
    for key, value in more.items():
        there = into.get(key)
        if key not in into:
            into[key] = value
        elif isinstance(there, dict) and isinstance(value, dict):
            _merge(there, value, name)
        else:
            raise PolicyFilesError(f"{name}: {key!r} is already set by another file")
