"""The store: transactions, durability settings, migrations, and clear errors."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ca import store as store_module
from ca.spiffe.ids import TrustDomain
from ca.store import SCHEMA_VERSION, Store, StoreError, increase, meta

_DOMAIN = TrustDomain.parse("shop.example")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_create_and_open(path: Path) -> None:
    Store.create(path, _DOMAIN).close()
    assert path.stat().st_mode & 0o777 == 0o600
    store = Store.open(path)
    assert store.trust_domain() == _DOMAIN
    with store.snapshot() as rows:
        assert rows.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert rows.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
        assert rows.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    store.close()
    with pytest.raises(StoreError, match="already initialised"):
        Store.create(path, _DOMAIN)


def test_a_failed_transaction_changes_nothing(path: Path) -> None:
    store = Store.create(path, _DOMAIN)
    with pytest.raises(KeyError), store.transaction() as rows:
        increase(rows, "revocation_epoch")
        raise KeyError
    with store.snapshot() as rows:
        assert meta(rows, "revocation_epoch") == "0"
    with store.transaction() as rows:
        increase(rows, "revocation_epoch")
    with store.snapshot() as rows:
        assert meta(rows, "revocation_epoch") == "1"
        with pytest.raises(StoreError, match="lacks"):
            meta(rows, "absent")
    store.close()


def test_data_version_changes_with_other_connections_only(path: Path) -> None:
    one, two = Store.create(path, _DOMAIN), Store.open(path)
    before = one.data_version()
    with one.transaction() as rows:
        increase(rows, "revocation_epoch")
    assert one.data_version() == before
    with two.transaction() as rows:
        increase(rows, "revocation_epoch")
    assert one.data_version() != before
    one.close()
    two.close()


def test_a_held_store_is_busy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "_BUSY_TIMEOUT_S", 0.01)
    one = Store.create(path, _DOMAIN)
    two = Store._connect(path)
    refusal = pytest.raises(StoreError, match="another process")
    with one.transaction(), refusal, two.transaction():
        pass
    one.close()
    two.close()


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"junk " * 2000, "restore"), (b"", "init"), (None, "ca init")],
)
def test_not_a_store(path: Path, content: bytes | None, text: str) -> None:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreError, match=text):
        Store.open(path)


def test_a_damaged_page_is_found_when_opening(path: Path) -> None:
    store = Store.create(path, _DOMAIN)
    with store.transaction() as rows:
        rows.executemany(
            "INSERT INTO revocations VALUES ('tokens', ?, 0)", [(f"t{n}",) for n in range(2000)]
        )
    store.close()
    data = bytearray(path.read_bytes())
    for start in range(8 * 4096, len(data), 4096):
        data[start : start + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StoreError, match="restore"):
        Store.open(path)


def test_a_newer_schema_is_refused(path: Path) -> None:
    Store.create(path, _DOMAIN).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match="upgrade"):
        Store.open(path)


def test_migrations_move_an_older_store_forward(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.create(path, _DOMAIN).close()
    more = (*store_module._MIGRATIONS, ("CREATE TABLE later (x TEXT) STRICT",))
    monkeypatch.setattr(store_module, "_MIGRATIONS", more)
    monkeypatch.setattr(store_module, "SCHEMA_VERSION", len(more))
    store = Store.open(path)
    with store.snapshot() as rows:
        assert rows.execute("SELECT count(*) FROM later").fetchone()[0] == 0
    assert store.trust_domain() == _DOMAIN
    store.close()


def test_places_without_a_disk(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "store.sqlite", Path("/proc/store.sqlite")):
        with pytest.raises(StoreError, match="cannot make"):
            Store.create(path, _DOMAIN)


def test_a_directory_in_place_of_the_store(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError):
        Store.open(path)


_WRITE = """
import resource, sys
from pathlib import Path
from ca.store import Store, StoreError, increase
store = Store.open(Path(sys.argv[1]))
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1, limit[1]))
try:
    with store.transaction() as rows:
        increase(rows, "revocation_epoch")
except StoreError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
with store.transaction() as rows:
    increase(rows, "revocation_epoch")
"""


def test_a_full_disk_changes_nothing_and_heals(path: Path) -> None:
    Store.create(path, _DOMAIN).close()
    root = Path(store_module.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", _WRITE, str(path)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "disk" in done.stdout and str(path) in done.stdout
    store = Store.open(path)
    with store.snapshot() as rows:
        assert meta(rows, "revocation_epoch") == "1"
    store.close()


def test_a_killed_writer_loses_what_it_had_not_committed(path: Path) -> None:
    Store.create(path, _DOMAIN).close()
    script = _WRITE.split("limit =", maxsplit=1)[0] + (
        "import os, signal\n"
        "with store.transaction() as rows:\n"
        "    increase(rows, 'revocation_epoch')\n"
        "with store.transaction() as rows:\n"
        "    increase(rows, 'revocation_epoch')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(store_module.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    store = Store.open(path)
    with store.snapshot() as rows:
        assert meta(rows, "revocation_epoch") == "1"
    store.close()
