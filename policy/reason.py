"""The closed table of refusals: why a gate stayed shut, and who may learn it.

Every denial in Narrowgate names exactly one `Reason`. Each reason owns its HTTP status, its gRPC
status, its metric label and one sentence a person can act on. A peer that did not authenticate is
told the status and a decision id; only an authenticated one also learns the label and sentence.
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import Final

# gRPC status codes, https://grpc.github.io/grpc/core/md_doc_statuscodes.html
_INVALID: Final = 3
_DEADLINE: Final = 4
_NOT_FOUND: Final = 5
_DENIED: Final = 7
_EXHAUSTED: Final = 8
_UNIMPLEMENTED: Final = 12
_INTERNAL: Final = 13
_UNAVAILABLE: Final = 14
_UNAUTHENTICATED: Final = 16


class Reason(Enum):
    """Why a call was refused: `(label, HTTP status, gRPC status, sentence)`."""

    # The message itself.
    MALFORMED = ("malformed", 400, _INVALID, "The request is not well-formed HTTP.")
    AMBIGUOUS_PATH = ("ambiguous_path", 400, _INVALID, "The path can be read in two ways.")
    DUPLICATE_FIELD = ("duplicate_field", 400, _INVALID, "A field that must be single came twice.")
    HEAD_TOO_LARGE = ("head_too_large", 431, _INVALID, "The request head is over its bound.")
    TARGET_TOO_LONG = ("target_too_long", 414, _INVALID, "The request target is over its bound.")
    BODY_TOO_LARGE = ("body_too_large", 413, _INVALID, "The request body is over its bound.")
    BODY_TRUNCATED = ("body_truncated", 400, _INVALID, "The request body ended early.")
    HEAD_TIMEOUT = ("head_timeout", 408, _DEADLINE, "The request did not arrive in time.")
    METHOD_REFUSED = ("method_refused", 501, _UNIMPLEMENTED, "This method never passes a gate.")
    VERSION_REFUSED = ("version_refused", 505, _UNIMPLEMENTED, "This HTTP version is not spoken.")
    CODING_REFUSED = ("coding_refused", 501, _UNIMPLEMENTED, "This transfer coding is not spoken.")
    EXPECTATION_REFUSED = ("expectation_refused", 417, _INVALID, "Only 100-continue is expected.")
    UPGRADE_REFUSED = ("upgrade_refused", 501, _UNIMPLEMENTED, "No protocol upgrade is permitted.")
    MISDIRECTED = ("misdirected", 421, _NOT_FOUND, "This gate does not serve that authority.")

    # The peer.
    PEER_UNVERIFIED = ("peer_unverified", 403, _UNAUTHENTICATED, "The peer proved no identity.")
    PEER_EXPIRED = ("peer_expired", 403, _UNAUTHENTICATED, "The peer's SVID has expired.")
    PEER_REVOKED = ("peer_revoked", 403, _DENIED, "The peer's identity was revoked.")

    # The caller's external credential, at the edge.
    CREDENTIAL_MISSING = (
        "credential_missing",
        401,
        _UNAUTHENTICATED,
        "Send an access token as 'Authorization: Bearer'.",
    )
    CREDENTIAL_INVALID = (
        "credential_invalid",
        401,
        _UNAUTHENTICATED,
        "The access token does not verify.",
    )
    CREDENTIAL_EXPIRED = (
        "credential_expired",
        401,
        _UNAUTHENTICATED,
        "The access token has expired.",
    )
    ISSUER_KEYS_UNAVAILABLE = (
        "issuer_keys_unavailable",
        503,
        _UNAVAILABLE,
        "The issuer's keys are not to be had or are too old.",
    )
    ISSUER_NOT_LISTED = (
        "issuer_not_listed",
        403,
        _DENIED,
        "The authority's issuer list does not let this workload accept that issuer.",
    )

    # The transaction token and its chain of hops (docs/architecture.md, the seven rules).
    TOKEN_MISSING = ("token_missing", 401, _UNAUTHENTICATED, "This route needs a grant.")
    TOKEN_FORBIDDEN = ("token_forbidden", 403, _DENIED, "This route accepts no grant.")
    TOKEN_MALFORMED = ("token_malformed", 401, _UNAUTHENTICATED, "The token is not well-formed.")
    TOKEN_SIGNATURE = ("token_signature", 401, _UNAUTHENTICATED, "A signature does not verify.")
    TOKEN_EXPIRED = ("token_expired", 401, _UNAUTHENTICATED, "The token or a hop has expired.")
    TOKEN_REVOKED = ("token_revoked", 401, _UNAUTHENTICATED, "The token was revoked.")
    TOKEN_ISSUER = ("token_issuer", 403, _DENIED, "The token's issuer is not on the list.")
    TOKEN_CEILING = ("token_ceiling", 403, _DENIED, "The token is over its issuer's ceiling.")
    TOKEN_AUDIENCE = ("token_audience", 403, _DENIED, "The token is for another trust domain.")
    CHAIN_MISSING = ("chain_missing", 403, _DENIED, "A root token came without its hops.")
    CHAIN_ROOTLESS = ("chain_rootless", 403, _DENIED, "Hops came without their root token.")
    CHAIN_BROKEN = ("chain_broken", 403, _DENIED, "A hop does not continue what precedes it.")
    CHAIN_SENDER = ("chain_sender", 403, _DENIED, "The last hop was not signed by this peer.")
    CHAIN_RECIPIENT = ("chain_recipient", 403, _DENIED, "The last hop is for someone else.")
    CHAIN_WIDENED = ("chain_widened", 403, _DENIED, "A hop widens the scope it was handed.")
    CHAIN_TOO_DEEP = ("chain_too_deep", 403, _DENIED, "The chain has too many hops.")
    CHAIN_TOO_LARGE = ("chain_too_large", 431, _DENIED, "The token fields are over their bound.")

    # Posture: the gate's own inputs.
    SEALED_STARTING = ("sealed_starting", 503, _UNAVAILABLE, "The gate has not all inputs yet.")
    SEALED_IDENTITY = ("sealed_identity", 503, _UNAVAILABLE, "The gate's own SVID has expired.")
    SEALED_BUNDLE = ("sealed_bundle", 503, _UNAVAILABLE, "The trust bundle is too old.")
    SEALED_REVOCATIONS = (
        "sealed_revocations",
        503,
        _UNAVAILABLE,
        "The revocation list is too old.",
    )
    SEALED_CLOCK = ("sealed_clock", 503, _UNAVAILABLE, "The clock jumped; time is not trusted.")
    SEALED_DISK = ("sealed_disk", 503, _UNAVAILABLE, "The gate cannot write what it must keep.")

    # The decision.
    POLICY_DENIED = ("policy_denied", 403, _DENIED, "Policy does not allow this call.")
    POLICY_UNDEFINED = ("policy_undefined", 403, _DENIED, "Policy gave no decision.")
    POLICY_MALFORMED = ("policy_malformed", 503, _UNAVAILABLE, "Policy's answer is not a decision.")
    POLICY_ERROR = ("policy_error", 503, _UNAVAILABLE, "Policy evaluation failed.")
    POLICY_CRASHED = ("policy_crashed", 503, _UNAVAILABLE, "The policy engine crashed.")
    POLICY_TIMEOUT = ("policy_timeout", 503, _UNAVAILABLE, "The decision took too long.")
    POLICY_DISAGREED = ("policy_disagreed", 503, _UNAVAILABLE, "Two evaluators disagreed.")
    POLICY_UNAVAILABLE = ("policy_unavailable", 503, _UNAVAILABLE, "The engine did not answer.")
    POLICY_NOT_LOADED = ("policy_not_loaded", 503, _UNAVAILABLE, "No policy is loaded.")
    OBLIGATION_REFUSED = (
        "obligation_refused",
        503,
        _UNAVAILABLE,
        "Policy asked for something that no gate may do.",
    )
    SCOPE_WIDENED = ("scope_widened", 403, _DENIED, "Policy hands on more scope than is held.")

    # The way onwards.
    DESTINATION_UNKNOWN = ("destination_unknown", 502, _NOT_FOUND, "No workload serves that host.")
    DESTINATION_SELF = ("destination_self", 403, _DENIED, "A workload does not call itself.")
    DESTINATION_IDENTITY = (
        "destination_identity",
        502,
        _UNAVAILABLE,
        "The destination did not prove the expected identity.",
    )
    DESTINATION_UNREACHABLE = (
        "destination_unreachable",
        502,
        _UNAVAILABLE,
        "No connection to the destination could be made.",
    )
    DESTINATION_RESET = ("destination_reset", 502, _UNAVAILABLE, "The destination broke off.")
    DESTINATION_MALFORMED = (
        "destination_malformed",
        502,
        _UNAVAILABLE,
        "The destination's answer is not well-formed HTTP.",
    )
    DESTINATION_TIMEOUT = ("destination_timeout", 504, _DEADLINE, "No answer came in time.")

    # The gate itself.
    TOO_MANY = ("too_many", 503, _EXHAUSTED, "The gate is at one of its bounds.")
    DRAINING = ("draining", 503, _UNAVAILABLE, "The gate is shutting down.")
    INTERNAL = ("internal", 500, _INTERNAL, "The gate failed; nothing was forwarded.")

    def __init__(self, label: str, status: int, grpc_status: int, sentence: str) -> None:
        self.label: Final = label
        self.status: Final = status
        self.grpc_status: Final = grpc_status
        self.sentence: Final = sentence

    @property
    def phrase(self) -> str:
        """The HTTP reason phrase of `status` (RFC 9110 section 15)."""
        return HTTPStatus(self.status).phrase
