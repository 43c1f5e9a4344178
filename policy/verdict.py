"""Reads an engine's answer: exactly an allow, or a refusal with its reason.

Invariants: only the JSON value `true`, or an object whose `allowed` is `true`, is an allow; `1`,
`"true"`, a list and everything else is not. An obligation that is not understood, misspelt, of the
wrong type or forbidden turns an allow into a refusal: nothing a policy asks for is ever dropped
silently, except `http_status`, `body` and `dynamic_metadata`, which mean nothing on an allow.

The shape is that of opa-envoy-plugin (https://www.openpolicyagent.org/docs/latest/envoy-primer/),
with our own obligations under the key `narrowgate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from policy.call import Field
from policy.obligations import Edits, ObligationError, edits, response_fields
from policy.reason import Reason

BODY_BYTES_MAX: Final = 65536
DEADLINE_S_MAX: Final = 3600.0
SCOPE_ATOMS_MAX: Final = 256
_KEYS: Final = frozenset(
    {
        "allowed",
        "body",
        "dynamic_metadata",
        "headers",
        "http_status",
        "narrowgate",
        "query_parameters_to_remove",
        "query_parameters_to_set",
        "request_headers_to_remove",
        "response_headers_to_add",
    }
)
_OURS: Final = frozenset({"scope", "deadline", "guards"})
_STATUS_MIN: Final = 300
_STATUS_MAX: Final = 599


class Refusal(Exception):
    """The answer is no allow: `reason`, and what policy wants the refusal to look like."""

    def __init__(
        self,
        reason: Reason,
        detail: str = "",
        status: int | None = None,
        fields: tuple[Field, ...] = (),
        body: bytes | None = None,
    ) -> None:
        super().__init__(reason.label)
        self.reason: Final = reason
        self.detail: Final = detail
        self.status: Final = status
        self.fields: Final = fields
        self.body: Final = body


class Verdict(NamedTuple):
    """An allow. `scope` is `None` when policy named none; `edits` is `None` for none."""

    scope: frozenset[str] | None
    deadline_s: float | None
    edits: Edits | None


_PLAIN: Final = Verdict(None, None, None)


def read(answer: object) -> Verdict:
    """The verdict in an engine's `answer`.

    Raises:
        Refusal: the answer is not an allow, or an obligation of it cannot be met.
    """
    if answer is True:
        return _PLAIN
    if answer is False:
        raise Refusal(Reason.POLICY_DENIED)
    if not isinstance(answer, dict):
        raise Refusal(Reason.POLICY_MALFORMED, f"the decision is a {type(answer).__name__}")
    allowed = answer.get("allowed")
    try:
        if allowed is True:
            return _allow(answer)
        if allowed is False:
            raise _deny(answer)
    except ObligationError as error:
        raise Refusal(Reason.OBLIGATION_REFUSED, str(error)) from None
    raise Refusal(Reason.POLICY_MALFORMED, "`allowed` is neither true nor false")


def _allow(answer: Mapping[str, object]) -> Verdict:
    if not answer.keys() <= _KEYS:
        raise ObligationError("an obligation is not known")
    ours = answer.get("narrowgate", {})
    if not isinstance(ours, dict) or not ours.keys() <= _OURS:
        raise ObligationError("`narrowgate` is not an object of known obligations")
    if ours.get("guards", []) != []:
        raise ObligationError("no such guard")
    return Verdict(_scope(ours), _deadline_s(ours), edits(answer))


def _scope(ours: Mapping[str, object]) -> frozenset[str] | None:
    if "scope" not in ours:
        return None
    atoms = ours["scope"]
    if not isinstance(atoms, list) or len(atoms) > SCOPE_ATOMS_MAX:
        raise ObligationError("`narrowgate.scope` is not a list of strings")
    if not all(isinstance(atom, str) and atom for atom in atoms):
        raise ObligationError("`narrowgate.scope` is not a list of strings")
    return frozenset(atoms)


def _deadline_s(ours: Mapping[str, object]) -> float | None:
    if "deadline" not in ours:
        return None
    value = ours["deadline"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ObligationError("`narrowgate.deadline` is not a number of seconds")
    if not 0 < value <= DEADLINE_S_MAX or not math.isfinite(value):
        raise ObligationError("`narrowgate.deadline` is out of range")
    return float(value)


def _deny(answer: Mapping[str, object]) -> Refusal:
    """The refusal policy describes; a description that is no good is itself refused."""
    status = answer.get("http_status")
    if status is not None and (type(status) is not int or not _STATUS_MIN <= status <= _STATUS_MAX):
        raise ObligationError("`http_status` of a denial is not from 300 to 599")
    body = answer.get("body")
    if body is not None and not isinstance(body, str):
        raise ObligationError("`body` is not a string")
    text = None if body is None else body.encode("utf-8", "replace")
    if text is not None and len(text) > BODY_BYTES_MAX:
        raise ObligationError("`body` is over its bound")
    fields = response_fields(answer, "headers") + response_fields(answer, "response_headers_to_add")
    return Refusal(Reason.POLICY_DENIED, "", status, fields, text)
