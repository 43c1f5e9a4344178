"""The verbs of `narrowgate ca`: arguments in, one function of `ca.verbs` called, an exit code out.

Invariants: nothing heavy is imported before a verb runs; every refusal is one line on stderr that
says what to do next, with exit code 1 (2 for wrong arguments).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `ca ...` by itself, for tests and for `python -m ca.cli`; return the exit code."""
    parser = argparse.ArgumentParser(prog="narrowgate")
    add_verbs(parser.add_subparsers(required=True, metavar="VERB"))
    arguments = parser.parse_args(argv)
    code: int = arguments.func(arguments)
    return code


def add_verbs(subparsers: Parsers) -> None:
    """Add `ca` with all its verbs to the command's parser."""
    ca = subparsers.add_parser(
        "ca",
        help="run and administer the authority",
        description="The authority: it issues identities, and tells every sidecar who is where, "
        "what is allowed and what is revoked. All verbs but `serve` work on the state directory "
        "and may be used while `serve` runs; it notices within a tenth of a second.",
    )
    verbs = ca.add_subparsers(required=True, metavar="VERB")
    _add_process(verbs)
    _add_entry(verbs)
    _add_token(verbs)
    _add_policy(verbs)
    _add_issuer(verbs)
    _add_revoke(verbs)


def _add_process(verbs: Parsers) -> None:
    init = _verb(verbs, "init", "make the keys and the store of a new trust domain")
    init.add_argument("--trust-domain", required=True, metavar="NAME", help="e.g. shop.example")
    _passphrase(init)
    serve = _verb(verbs, "serve", "serve the API until SIGTERM; prints a JSON line when ready")
    serve.add_argument(
        "--listen", default="127.0.0.1:17010", metavar="ADDRESS:PORT", help="default %(default)s"
    )
    serve.add_argument(
        "--socket", type=Path, metavar="PATH", help="also serve unix attestation on this socket"
    )
    _passphrase(serve)
    serve.add_argument(
        "--svid-lifetime-s", type=int, default=3600, metavar="N", help="default %(default)s"
    )
    serve.add_argument(
        "--heartbeat-s", type=float, default=2.0, metavar="N", help="default %(default)s"
    )
    _verb(verbs, "bundle", "print the trust bundle (JWKS), which sidecars start from")
    _verb(verbs, "status", "print counts, dates and warnings as JSON")


def _add_entry(verbs: Parsers) -> None:
    group = _group(verbs, "entry", "the registered workloads")
    create = _verb(group, "create", "register a workload", "entry_create")
    _id(create, "the workload's SPIFFE ID")
    _many(create, "--selector", "unix:uid:N", "what unix attestation must see; all must hold")
    _many(create, "--host", "NAME", "a host name that means this workload")
    _many(create, "--endpoint", "ADDRESS:PORT", "where its inbound gate listens")
    create.add_argument(
        "--svid-lifetime-s", type=int, metavar="N", help="instead of the server's default"
    )
    _verb(group, "list", "print all entries as JSON", "entry_list")
    delete = _verb(
        group, "delete", "end a workload's renewals; `revoke` ends its live SVIDs", "entry_delete"
    )
    _id(delete, "the workload's SPIFFE ID")


def _add_token(verbs: Parsers) -> None:
    group = _group(verbs, "token", "join tokens")
    create = _verb(group, "create", "print a token that is good for one SVID", "token_create")
    _id(create, "the workload that may use it")
    create.add_argument(
        "--ttl-s", type=float, default=600.0, metavar="N", help="default %(default)g"
    )


def _add_policy(verbs: Parsers) -> None:
    group = _group(verbs, "policy", "what sidecars decide by; check it first with `policy check`")
    put = _verb(group, "set", "hand out the *.rego and data.json of a directory", "policy_set")
    _id(put, "for this workload only; without it, the default of the mesh", required=False)
    put.add_argument("directory", type=Path, metavar="DIRECTORY")
    delete = _verb(group, "delete", "take a policy away; no policy denies", "policy_delete")
    _id(delete, "of this workload; without it, the default of the mesh", required=False)


def _add_issuer(verbs: Parsers) -> None:
    group = _group(verbs, "issuer", "edges that may turn external tokens into transaction tokens")
    put = _verb(group, "set", "allow a workload to issue transaction tokens", "issuer_set")
    _id(put, "the edge workload")
    _many(put, "--external-issuer", "URL", "an `iss` that it may accept", required=True)
    _many(put, "--scope", "ATOM", "a scope atom that it may grant", required=True)
    put.add_argument(
        "--lifetime-s-max", type=int, default=60, metavar="N", help="default %(default)s"
    )
    _verb(group, "list", "print the issuer list as JSON", "issuer_list")
    delete = _verb(group, "delete", "take a workload off the list", "issuer_delete")
    _id(delete, "the edge workload")


def _add_revoke(verbs: Parsers) -> None:
    for name, help_ in (
        ("revoke", "refuse a serial, workload, key, transaction or token from now on"),
        ("restore", "take a revocation back"),
    ):
        verb = _verb(verbs, name, help_)
        verb.epilog = "Write --key=VALUE when the value begins with a dash."
        what = verb.add_mutually_exclusive_group(required=True)
        what.add_argument("--serial", metavar="HEX", help="one SVID")
        what.add_argument("--workload", metavar="ID", help="a workload with all its SVIDs")
        what.add_argument("--key", metavar="THUMBPRINT", help="an SVID or hop key (RFC 7638)")
        what.add_argument("--transaction", metavar="TXN", help="one transaction")
        what.add_argument("--token", metavar="JTI", help="one token")


def _group(verbs: Parsers, name: str, help_: str) -> Parsers:
    parser = verbs.add_parser(name, help=help_, description=help_)
    return parser.add_subparsers(required=True, metavar="VERB")


def _verb(
    verbs: Parsers, name: str, help_: str, function: str | None = None
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=help_, description=help_)
    parser.add_argument(
        "--state", type=Path, required=True, metavar="DIR", help="the authority's state directory"
    )
    parser.set_defaults(func=_run, verb=function or name)
    return parser


def _id(parser: argparse.ArgumentParser, help_: str, *, required: bool = True) -> None:
    parser.add_argument("--id", required=required, metavar="SPIFFE_ID", help=help_)


def _many(
    parser: argparse.ArgumentParser,
    name: str,
    metavar: str,
    help_: str,
    *,
    required: bool = False,
) -> None:
    parser.add_argument(
        name,
        action="append",
        default=None if required else [],
        required=required,
        metavar=metavar,
        help=f"{help_}; may be repeated",
    )


def _passphrase(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help="the keys are encrypted with the first line of FILE (mode 0600)",
    )


def _run(arguments: argparse.Namespace) -> int:
    from ca import verbs

    try:
        return verbs.VERBS[arguments.verb](arguments)
    except verbs.REFUSALS as error:
        print(f"narrowgate ca: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
