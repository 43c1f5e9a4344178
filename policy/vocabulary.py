"""The built-in functions a policy may use, and what has to be true of their arguments.

A name is here only if OPA's conformance cases and a differential run against OPA with odd
arguments found no answer of ours that differs silently, within the conditions written beside it
(docs/adr/0002-embedded-rego.md). A call that can do unbounded work in one instruction is here only
with the argument that bounds it as a literal.

Invariants: a name that is not listed is refused; `GUARDS` name the bytes of an input document for
which a listed function is known to be inexact, so that such an input is refused and not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

Node = Mapping[str, Any]
Check = Callable[[Sequence[Node]], str | None]

RANGE_MAX: Final = 1000

_EXACT: Final = frozenset(
    """
    abs array.concat array.reverse base64.decode base64.encode base64url.decode base64url.encode
    base64url.encode_no_pad bits.and bits.or ceil concat contains count endswith floor
    graph.reachable hex.decode hex.encode intersection is_array is_boolean is_null is_number
    is_object is_set is_string json.patch json.unmarshal lower max min net.cidr_contains
    net.cidr_is_valid object.filter object.get object.keys object.remove object.union
    object.union_n round semver.compare sort split startswith strings.any_prefix_match
    strings.any_suffix_match strings.reverse sum time.clock time.date time.diff time.format
    time.now_ns time.parse_duration_ns time.weekday trim trim_left trim_prefix trim_right
    trim_space trim_suffix type_name union upper uuid.parse
    """.split()  # noqa: SIM905 - a list of seventy quoted names reads worse
)

# Function to the bytes of a document for which its answer may differ from OPA's.
GUARDS: Final[Mapping[str, bytes]] = {
    "count": rb"[\xf0-\xf4]",  # characters beyond the basic plane count twice
    "glob.match": rb"[\x80-\xff]",  # `?` and classes match bytes
    "lower": rb"\xc4\xb0|\xce\xa3",  # full instead of simple case mapping
    "upper": rb"[\x80-\xff]",
    "net.cidr_contains": rb":0*[fF][fF][fF][fF]:",  # IPv4 addresses written as IPv6
}

_CLASS_CHAR: Final = r"(?:[^\\\[\]&~^-]|\\[-.+*?()|\[\]{}^$/\\])"
_ATOM: Final = (
    r"(?:[^\\\[\](){}*+?]|\\[-.+*?()|\[\]{}^$/\\]|\((?:\?:)?(?![*+?{])|\)"
    rf"|\[\^?(?:{_CLASS_CHAR}(?:-{_CLASS_CHAR})?)+-?\])"
)
_QUANTIFIER: Final = r"(?:[*+?]|\{\d{1,3}(?:,\d{0,3})?\})\??"
_PATTERN: Final = re.compile(rf"(?:\(\?i\))?(?:{_ATOM}(?:{_QUANTIFIER})?)*\Z")
_FORMAT: Final = re.compile(r"(?:[^%]|%[svd%])*\Z")
_DELIMITERS: Final = frozenset("/.-")


def complaint(name: str, arguments: Sequence[Node]) -> str | None:
    """Why a call of the built-in `name` is refused, or `None`."""
    if name in _EXACT:
        return None
    check = _CHECKED.get(name)
    if check is None:
        return f"`{name}` is not a function this engine is proven to evaluate as OPA does"
    message = check(arguments)
    return None if message is None else f"`{name}`: {message}"


def literal(node: Node) -> object:
    """The value of a scalar literal, `...` for anything else."""
    for kind in ("String", "RawString", "Number", "Bool"):
        if kind in node:
            value: object = node[kind]["value"]
            return value
    if "Null" in node:
        return None
    return ...


def _range(arguments: Sequence[Node]) -> str | None:
    ends = [literal(argument) for argument in arguments[:2]]
    if any(type(end) is not int or abs(end) > RANGE_MAX for end in ends):
        return f"both ends are literal integers up to {RANGE_MAX}"
    return None


def _format(arguments: Sequence[Node]) -> str | None:
    text = literal(arguments[0]) if arguments else ...
    if not isinstance(text, str) or not _FORMAT.match(text):
        return "the format is a literal with only %s, %d and %v"
    return None


def _pattern_at(index: int) -> Check:
    def check(arguments: Sequence[Node]) -> str | None:
        text = literal(arguments[index]) if len(arguments) > index else ...
        if not isinstance(text, str):
            return "the pattern is a literal"
        if not _PATTERN.match(text):
            return "the pattern has a part that is not read alike everywhere (for \\d use [0-9])"
        return None

    return check


def _replacement(index: int) -> Check:
    def check(arguments: Sequence[Node]) -> str | None:
        if len(arguments) <= index or not isinstance(literal(arguments[index]), str):
            return "the replacement is a literal"
        return None

    return check


def _both(first: Check, second: Check) -> Check:
    return lambda arguments: first(arguments) or second(arguments)


def _delimiters(arguments: Sequence[Node]) -> str | None:
    node = arguments[1] if len(arguments) > 1 else {}
    if "Null" in node:
        return None
    items = node["Array"]["items"] if "Array" in node else None
    if items is None or any(literal(item) not in _DELIMITERS for item in items):
        return "the delimiters are a literal array of `/`, `.` or `-`, or null"
    return None


def _needle(arguments: Sequence[Node]) -> str | None:
    text = literal(arguments[1]) if len(arguments) > 1 else ...
    if not isinstance(text, str) or not text:
        return "the text to find is a literal and not empty"
    return None


def _offsets(arguments: Sequence[Node]) -> str | None:
    for node in arguments[1:]:
        if any(kind in node for kind in ("RefDot", "RefBrack")):
            return "an offset is a literal, a variable or the result of a function"
    return None


def _trimmed(arguments: Sequence[Node]) -> str | None:
    call = arguments[0].get("Call", {}) if arguments else {}
    if call.get("fcn", {}).get("Var", {}).get("value") != "trim_space":
        return "the argument is `trim_space(...)`: OPA takes no white space here"
    return None


_CHECKED: Final[Mapping[str, Check]] = {
    "array.slice": _offsets,
    "glob.match": _delimiters,
    "indexof": _needle,
    "indexof_n": _needle,
    "numbers.range": _range,
    "regex.find_all_string_submatch_n": _pattern_at(0),
    "regex.find_n": _pattern_at(0),
    "regex.match": _pattern_at(0),
    "regex.replace": _both(_pattern_at(1), _replacement(2)),
    "replace": _replacement(2),
    "sprintf": _format,
    "substring": _offsets,
    "to_number": _trimmed,
}

NAMES: Final = _EXACT | frozenset(_CHECKED)
