"""The wire forms of a root and its hops, read strictly into types; nothing here is verified.

Invariants: a value of these types has every claim that the rules look at, of the right type and
within its bounds; what else a token carries has no effect.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from ca.spiffe.ids import SpiffeId
from ca.spiffe.jws import Jws, JwsError, b64url_encode, numeric_date, parse, text_claim
from policy.reason import Reason
from sidecar.token.refusal import TokenRefused
from sidecar.token.scope import parse_scope

ROOT_TYPE: Final = "txntoken+jwt"
HOP_TYPE: Final = "narrowgate-hop+jwt"
ROOT_BYTES_MAX: Final = 2048
HOPS_BYTES_MAX: Final = 8192
DEPTH_MAX: Final = 6
SEPARATOR: Final = "~"
_ID_CHARS_MAX: Final = 128
_DIGEST: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Root(NamedTuple):
    """A root token. `wit` is `""` exactly when the authority itself is the issuer."""

    jws: Jws
    wit: str
    kid: str
    iss: SpiffeId
    aud: str
    txn: str
    sub: str
    scope: frozenset[str]
    req_wl: SpiffeId
    exp_s: float
    tctx: Mapping[str, object]
    jti: str
    replaces: str


class Hop(NamedTuple):
    """One hop: `iss` hands `scope` on to `aud`; `prev` is the hash of all that precedes it."""

    jws: Jws
    wit: str
    iss: SpiffeId
    aud: SpiffeId
    txn: str
    scope: frozenset[str]
    exp_s: float
    prev: str
    follows: str


class Chain(NamedTuple):
    """A root and at least one hop, in order."""

    root: Root
    hops: tuple[Hop, ...]


def digest(text: str) -> str:
    """The `prev` and `replaces` claim: base64url SHA-256 over the exact bytes of a chain."""
    return b64url_encode(hashlib.sha256(text.encode("ascii")).digest()).decode("ascii")


def parse_chain(root: str, hops: str) -> Chain:
    """Read both fields; their sizes and the depth must have been bounded before.

    Raises:
        TokenRefused: TOKEN_MALFORMED.
    """
    try:
        texts = hops.split(SEPARATOR)
        prefix = root
        parsed = []
        for text in texts:
            parsed.append(_parse_hop(text, digest(prefix)))
            prefix = f"{prefix}{SEPARATOR}{text}"
        return Chain(_parse_root(root), tuple(parsed))
    except ValueError as error:  # JwsError, SpiffeIdError, ScopeError, UnicodeEncodeError
        detail = str(error) if isinstance(error, JwsError) else type(error).__name__
        raise TokenRefused(Reason.TOKEN_MALFORMED, detail) from None


def _parse_root(text: str) -> Root:
    jws = parse(text, typ=ROOT_TYPE, bytes_max=ROOT_BYTES_MAX)
    claims = jws.claims
    numeric_date(claims, "iat")
    tctx = claims.get("tctx", {})
    if not isinstance(tctx, dict) or not isinstance(claims.get("rctx", {}), dict):
        raise JwsError("claim", "tctx and rctx are objects")
    iss = SpiffeId.parse(text_claim(claims, "iss"))
    wit, kid = _signer(jws, from_authority=not iss.path)
    return Root(
        jws=jws,
        wit=wit,
        kid=kid,
        iss=iss,
        aud=text_claim(claims, "aud"),
        txn=text_claim(claims, "txn", chars_max=_ID_CHARS_MAX),
        sub=text_claim(claims, "sub", chars_max=_ID_CHARS_MAX),
        scope=parse_scope(claims.get("scope")),
        req_wl=SpiffeId.parse(text_claim(claims, "req_wl")),
        exp_s=numeric_date(claims, "exp"),
        tctx=tctx,
        jti=_optional_text(claims, "jti"),
        replaces=_optional_text(claims, "replaces"),
    )


def _parse_hop(text: str, follows: str) -> Hop:
    jws = parse(text, typ=HOP_TYPE, bytes_max=HOPS_BYTES_MAX)
    claims = jws.claims
    numeric_date(claims, "iat")
    prev = text_claim(claims, "prev")
    if _DIGEST.fullmatch(prev) is None:
        raise JwsError("claim", "prev is not a hash")
    return Hop(
        jws=jws,
        wit=text_claim(jws.header, "wit", chars_max=HOPS_BYTES_MAX),
        iss=SpiffeId.parse(text_claim(claims, "iss")),
        aud=SpiffeId.parse(text_claim(claims, "aud")),
        txn=text_claim(claims, "txn", chars_max=_ID_CHARS_MAX),
        scope=parse_scope(claims.get("scope")),
        exp_s=numeric_date(claims, "exp"),
        prev=prev,
        follows=follows,
    )


def _signer(jws: Jws, *, from_authority: bool) -> tuple[str, str]:
    """`(wit, kid)`: a workload signs under its WIT, the authority under a key id."""
    if from_authority:
        if "wit" in jws.header:
            raise JwsError("malformed", "the authority signs without a WIT")
        return "", text_claim(jws.header, "kid", chars_max=_ID_CHARS_MAX)
    return text_claim(jws.header, "wit", chars_max=ROOT_BYTES_MAX), ""


def _optional_text(claims: Mapping[str, object], name: str) -> str:
    return text_claim(claims, name, chars_max=_ID_CHARS_MAX) if name in claims else ""
