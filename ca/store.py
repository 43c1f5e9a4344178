"""The authority's memory: one SQLite file in WAL mode, every commit on disk before it counts.

Invariants: all changes run inside `transaction()` (BEGIN IMMEDIATE, so that two writers never see
the same unused join token); the schema moves forward by `user_version` and never back; whatever
SQLite says about the disk becomes a `StoreError` that tells a person what to do.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ca.spiffe.ids import TrustDomain

FILE: Final = "store.sqlite"
_BUSY_TIMEOUT_S: Final = 5.0

# One tuple of statements a version; only ever append.
_MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
        """CREATE TABLE entries (id TEXT PRIMARY KEY, selectors TEXT NOT NULL,
           hosts TEXT NOT NULL, endpoints TEXT NOT NULL, svid_lifetime_s INTEGER,
           created_s REAL NOT NULL) STRICT""",
        """CREATE TABLE join_tokens (hash TEXT PRIMARY KEY, workload TEXT NOT NULL,
           expires_s REAL NOT NULL, used_s REAL) STRICT""",
        """CREATE TABLE svids (serial TEXT PRIMARY KEY, workload TEXT NOT NULL,
           issued_s REAL NOT NULL, not_after_s REAL NOT NULL, key_thumbprint TEXT NOT NULL,
           hop_key_thumbprint TEXT NOT NULL, wit_jti TEXT NOT NULL) STRICT""",
        "CREATE INDEX svids_not_after ON svids (not_after_s)",
        "CREATE INDEX svids_key ON svids (key_thumbprint)",
        "CREATE INDEX svids_hop_key ON svids (hop_key_thumbprint)",
        """CREATE TABLE policies (scope TEXT PRIMARY KEY, revision TEXT NOT NULL,
           modules TEXT NOT NULL, data TEXT NOT NULL, set_s REAL NOT NULL) STRICT""",
        """CREATE TABLE issuers (workload TEXT PRIMARY KEY, external_issuers TEXT NOT NULL,
           scope TEXT NOT NULL, lifetime_s_max INTEGER NOT NULL) STRICT""",
        """CREATE TABLE revocations (kind TEXT NOT NULL, value TEXT NOT NULL,
           revoked_s REAL NOT NULL, PRIMARY KEY (kind, value)) STRICT""",
    ),
)
SCHEMA_VERSION: Final = len(_MIGRATIONS)


class StoreError(Exception):
    """The store cannot be read or written; the text says what to do next."""


class Store:
    """One connection, used by one thread at a time (the server gives it a thread of its own)."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._lock = threading.RLock()

    @classmethod
    def create(cls, path: Path, trust_domain: TrustDomain, bundle_sequence: int = 1) -> Store:
        """Make a new store; raise `StoreError`, also when there already is one."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError as error:
            raise StoreError(f"{path} exists: this authority is already initialised") from error
        except OSError as error:
            raise StoreError(f"cannot make {path}: {error.strerror}") from error
        store = cls._connect(path)
        with store.transaction() as rows:
            _migrate(rows, 0)
            rows.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [
                    ("trust_domain", trust_domain.name),
                    ("bundle_sequence", str(bundle_sequence)),
                    ("revocation_epoch", "0"),
                ],
            )
        return store

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open, check and if need be migrate an existing store; raise `StoreError`."""
        if not path.is_file():
            raise StoreError(
                f"no authority store at {path}: run `narrowgate ca init --state {path.parent} "
                "--trust-domain NAME` first"
            )
        store = cls._connect(path)
        try:
            store._check()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def _connect(cls, path: Path) -> Store:
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            raise _explained(path, error) from error
        return cls(path, connection)

    def _check(self) -> None:
        with self.transaction() as rows:
            findings = [row[0] for row in rows.execute("PRAGMA quick_check(1)")]
            if findings != ["ok"]:
                raise StoreError(f"{self.path} is damaged: restore it from a backup")
            version = rows.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise StoreError(
                    f"{self.path} was written by a newer version (schema {version}, "
                    f"ours {SCHEMA_VERSION}): upgrade this program"
                )
            if version == 0:
                raise StoreError(
                    f"{self.path} was never initialised completely: remove the state "
                    "directory and run `narrowgate ca init` again"
                )
            _migrate(rows, version)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a body that may write, all or nothing; SQLite's errors become `StoreError`."""
        with self._within("BEGIN IMMEDIATE") as rows:
            yield rows

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Run a body that only reads, on one consistent state."""
        with self._within("BEGIN") as rows:
            yield rows

    @contextmanager
    def _within(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute(begin)
                try:
                    yield self._connection
                except BaseException:
                    if self._connection.in_transaction:  # a full disk rolls back by itself
                        self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                if self._connection.in_transaction:
                    self._connection.rollback()
                raise _explained(self.path, error) from error

    def data_version(self) -> int:
        """Return a number that changes when another connection has committed."""
        try:
            with self._lock:
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise _explained(self.path, error) from error

    def trust_domain(self) -> TrustDomain:
        """Return the trust domain this store was made for."""
        with self.snapshot() as rows:
            return TrustDomain.parse(meta(rows, "trust_domain"))

    def close(self) -> None:
        """Close the connection; the store cannot be used again."""
        with self._lock:  # SQLite does not survive being closed while another thread reads
            self._connection.close()


def meta(rows: sqlite3.Connection, name: str) -> str:
    """Return one value of the `meta` table; raise `StoreError` when it is missing."""
    row = rows.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise StoreError(f"the store lacks `{name}`: restore it from a backup")
    return str(row[0])


def increase(rows: sqlite3.Connection, name: str) -> None:
    """Add one to a number of the `meta` table."""
    rows.execute(
        "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = ?", (name,)
    )


def _migrate(rows: sqlite3.Connection, version: int) -> None:
    if version == SCHEMA_VERSION:
        return
    for statements in _MIGRATIONS[version:]:
        for statement in statements:
            rows.execute(statement)
    rows.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


_SENTENCES: Final = {
    sqlite3.SQLITE_FULL: "the disk is full: make room, nothing was changed",
    sqlite3.SQLITE_IOERR: "the disk refuses to read or write: check space, quota and health",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only: make it writable",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened: check the path and its permissions",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the file is not an authority store: restore it from a backup",
    sqlite3.SQLITE_BUSY: "another process holds the store: try again",
    sqlite3.SQLITE_LOCKED: "another process holds the store: try again",
}


def _explained(path: Path, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", None)
    sentence = _SENTENCES.get(code & 0xFF) if isinstance(code, int) else None
    return StoreError(f"{path}: {sentence or f'SQLite failed ({error})'}")
