"""Why the authority said no: one closed table of reasons and the exception that carries one.

Invariants: every refusal of the API names exactly one reason, and the reason owns the HTTP status.
A detail is a sentence for the person who runs the caller; it never holds a secret.
"""

from __future__ import annotations

from enum import Enum


class Reason(Enum):
    """`(label, HTTP status, title)` of each refusal, as sent in problem+json (RFC 9457)."""

    MALFORMED = ("malformed", 400, "The request is not understood.")
    CSR = ("csr_refused", 400, "The certificate request is refused.")
    HOP_KEY = ("hop_key_refused", 400, "The hop key is refused.")
    UNKNOWN_ATTESTOR = ("unknown_attestor", 400, "No such attestor.")
    UNAUTHENTICATED = ("unauthenticated", 401, "A valid SVID is required.")
    ATTESTATION = ("attestation_refused", 403, "The evidence does not prove a workload.")
    TOKEN_EXPIRED = ("join_token_expired", 403, "The join token has expired.")
    TOKEN_USED = ("join_token_used", 403, "The join token was used before.")
    AMBIGUOUS = ("ambiguous_workload", 403, "The evidence fits several workloads.")
    OTHER_WORKLOAD = ("other_workload", 403, "The request names another workload.")
    NO_ENTRY = ("no_entry", 403, "The workload is not registered.")
    REVOKED = ("revoked", 403, "The workload, serial or key is revoked.")
    NOT_ISSUED = ("not_issued", 403, "This authority has no record of the SVID.")
    KEY_REUSED = ("key_reused", 403, "The key belongs to another workload or purpose.")
    NOT_FOUND = ("not_found", 404, "There is nothing here.")
    METHOD = ("method_not_allowed", 405, "The method is not allowed here.")
    TIMEOUT = ("request_timeout", 408, "The request took too long to arrive.")
    TOO_LARGE = ("too_large", 413, "The request is too large.")
    INTERNAL = ("internal", 500, "The authority failed.")
    BUSY = ("busy", 503, "The authority has too much to do; try again.")
    STORE = ("store_unavailable", 503, "The authority cannot read or write its state.")

    def __init__(self, label: str, status: int, title: str) -> None:
        self.label = label
        self.status = status
        self.title = title


class Refused(Exception):
    """The authority refuses a request for `reason`; `detail` is safe to show to the caller."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.label}: {detail}")
        self.reason = reason
        self.detail = detail
