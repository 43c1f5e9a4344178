"""What the verbs of `narrowgate ca` do: each opens the store, runs one transaction, prints.

Invariants: a verb changes the store in one transaction or not at all; only `init` and `serve`
touch private keys; secrets are printed by `token create` only, and only the token itself.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from ca import entries, issuers, keys, policies, revocations
from ca.attest import join_token
from ca.authority import AuthorityError, IssuerRule, make_root, public_bundle
from ca.entries import Entry, EntryError, workload_id
from ca.keys import KeyStoreError, Secrets
from ca.policies import PolicyFilesError
from ca.revocations import Kind, RevocationError
from ca.serve import Options, ServeError, serve
from ca.spiffe.ids import SpiffeId, SpiffeIdError, TrustDomain
from ca.store import FILE, SCHEMA_VERSION, Store, StoreError, meta

REFUSALS: Final = (
    AuthorityError,
    EntryError,
    KeyStoreError,
    PolicyFilesError,
    RevocationError,
    ServeError,
    SpiffeIdError,
    StoreError,
)
_ROOT_WARNING_S: Final = 90 * 24 * 3600
_KINDS: Final = {
    "serial": Kind.SERIAL,
    "workload": Kind.WORKLOAD,
    "key": Kind.KEY,
    "transaction": Kind.TRANSACTION,
    "token": Kind.TOKEN,
}


def _init(arguments: argparse.Namespace) -> int:
    state: Path = arguments.state
    trust_domain = TrustDomain.parse(arguments.trust_domain)
    passphrase = keys.read_passphrase(arguments.passphrase_file)
    if (state / FILE).exists():
        raise StoreError(f"{state / FILE} exists: this authority is already initialised")
    keys.prepare_directory(state)
    secrets = Secrets.generate()
    keys.save(state, secrets, make_root(trust_domain, secrets.root_key), passphrase)
    Store.create(state / FILE, trust_domain).close()
    print(f"made the authority of {trust_domain} in {state}")
    print(f"next: narrowgate ca serve --state {state}")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    return serve(
        Options(
            arguments.state,
            arguments.listen,
            arguments.socket,
            arguments.passphrase_file,
            arguments.svid_lifetime_s,
            arguments.heartbeat_s,
        )
    )


def _bundle(arguments: argparse.Namespace) -> int:
    public = keys.load_public(arguments.state)
    with _opened(arguments) as rows:
        trust_domain = TrustDomain.parse(meta(rows, "trust_domain"))
        sequence = int(meta(rows, "bundle_sequence"))
    _print(public_bundle(trust_domain, public, sequence).document())
    return 0


def _entry_create(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as rows:
        entry = Entry(
            _workload(rows, arguments.id),
            tuple(arguments.selector),
            tuple(arguments.host),
            tuple(arguments.endpoint),
            arguments.svid_lifetime_s,
        )
        entries.create(rows, entry, time.time())
    print(entry.id)
    return 0


def _entry_list(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as rows:
        found = entries.every(rows)
    _print([_shown(entry) for entry in found])
    return 0


def _entry_delete(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as rows:
        entries.delete(rows, _workload(rows, arguments.id))
    return 0


def _token_create(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as rows:
        name = _workload(rows, arguments.id)
        token = join_token.create(rows, name, arguments.ttl_s, time.time())
    print(token)
    return 0


def _policy_set(arguments: argparse.Namespace) -> int:
    files = policies.read_directory(arguments.directory)
    with _opened(arguments) as rows:
        policies.put(rows, _optional_workload(rows, arguments.id), files, time.time())
    print(files.revision)
    return 0


def _policy_delete(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as rows:
        policies.delete(rows, _optional_workload(rows, arguments.id))
    return 0


def _issuer_set(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as rows:
        rule = IssuerRule(
            _workload(rows, arguments.id),
            tuple(arguments.external_issuer),
            tuple(arguments.scope),
            arguments.lifetime_s_max,
        )
        issuers.put(rows, rule)
    return 0


def _issuer_list(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as rows:
        found = issuers.every(rows)
    _print(
        [
            {
                "workload": rule.workload.uri,
                "external_issuers": list(rule.external_issuers),
                "scope": list(rule.scope),
                "lifetime_s_max": rule.lifetime_s_max,
            }
            for rule in found
        ]
    )
    return 0


def _issuer_delete(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as rows:
        issuers.delete(rows, _workload(rows, arguments.id))
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    kind, value = _chosen(arguments)
    with _opened(arguments) as rows:
        if kind is Kind.WORKLOAD:
            _workload(rows, value)  # a slip of the pen must not look like a revocation
        revocations.revoke(rows, kind, value, time.time())
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    kind, value = _chosen(arguments)
    with _opened(arguments) as rows:
        revocations.restore(rows, kind, value)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    root = keys.load_public(arguments.state).root
    now_s = time.time()
    with _opened(arguments) as rows:
        document: dict[str, object] = {
            "trust_domain": meta(rows, "trust_domain"),
            "schema": SCHEMA_VERSION,
            "bundle_sequence": int(meta(rows, "bundle_sequence")),
            "root_not_after": _date(root.not_valid_after_utc.timestamp()),
            "entries": len(entries.every(rows)),
            "issuers": len(issuers.every(rows)),
            "policies": {
                scope or "(mesh default)": section["revision"]
                for scope, section in policies.sections(rows).items()
            },
            "live_svids": _live(rows, now_s),
            "unused_join_tokens": rows.execute(
                "SELECT count(*) FROM join_tokens WHERE used_s IS NULL AND expires_s > ?", (now_s,)
            ).fetchone()[0],
            "revocations": revocations.section(rows),
        }
    left_s = root.not_valid_after_utc.timestamp() - now_s
    document["warnings"] = (
        [f"the root certificate runs out in {left_s / 86400:.0f} days"]
        if left_s < _ROOT_WARNING_S
        else []
    )
    _print(document)
    return 0


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[Connection]:
    """Open the store of --state inside one transaction."""
    keys.check_directory(arguments.state)
    store = Store.open(arguments.state / FILE)
    try:
        with store.transaction() as rows:
            yield rows
    finally:
        store.close()


def _workload(rows: Connection, text: str) -> SpiffeId:
    return workload_id(text, TrustDomain.parse(meta(rows, "trust_domain")))


def _optional_workload(rows: Connection, text: str | None) -> SpiffeId | None:
    return None if text is None else _workload(rows, text)


def _chosen(arguments: argparse.Namespace) -> tuple[Kind, str]:
    for name, kind in _KINDS.items():
        value = getattr(arguments, name)
        if value is not None:
            return kind, revocations.normal(kind, value)
    raise RevocationError("say what to revoke")


def _shown(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id.uri,
        "selectors": list(entry.selectors),
        "hosts": list(entry.hosts),
        "endpoints": list(entry.endpoints),
        "svid_lifetime_s": entry.svid_lifetime_s,
    }


def _live(rows: Connection, now_s: float) -> list[dict[str, object]]:
    found = rows.execute(
        """SELECT serial, workload, not_after_s, key_thumbprint, hop_key_thumbprint, wit_jti
           FROM svids WHERE not_after_s > ? ORDER BY workload, not_after_s""",
        (now_s,),
    )
    return [
        {
            "serial": serial,
            "workload": workload,
            "not_after": _date(not_after_s),
            "key": key,
            "hop_key": hop_key,
            "wit": jti,
        }
        for serial, workload, not_after_s, key, hop_key, jti in found
    ]


def _date(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")


def _print(document: object) -> None:
    print(json.dumps(document, indent=2))


VERBS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "init": _init,
    "serve": _serve,
    "bundle": _bundle,
    "status": _status,
    "entry_create": _entry_create,
    "entry_list": _entry_list,
    "entry_delete": _entry_delete,
    "token_create": _token_create,
    "policy_set": _policy_set,
    "policy_delete": _policy_delete,
    "issuer_set": _issuer_set,
    "issuer_list": _issuer_list,
    "issuer_delete": _issuer_delete,
    "revoke": _revoke,
    "restore": _restore,
}
