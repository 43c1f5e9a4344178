"""The types of single configuration values: addresses, paths, identities, log targets.

Invariants: every value has one reading; a refusal says what is wrong and what to write instead.
Relative paths start at the folder given as validation context `folder`, the configuration file's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
)

from ca.spiffe.ids import SpiffeId
from sidecar.address import Address
from sidecar.routes import check_route_path

_IP_PORT = r"^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-fA-F:.]+\]):[1-9]\d{0,4}$"


def _text(value: object, example: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be text, write it like {example}")
    return value


def _listener(value: object) -> Address:
    if isinstance(value, Address):
        return value
    return Address.parse(_text(value, "127.0.0.1:17006"))


def _endpoint(value: object) -> Address:
    if isinstance(value, Address):
        return value
    return Address.parse(_text(value, "authority.example:17010"), names=True)


def _opa(value: object) -> Address | Path:
    """A unix socket, or plain HTTP on loopback only: anyone on the way could turn a denial."""
    if isinstance(value, Address | Path):
        return value
    text = _text(value, "unix:/run/opa.sock")
    if text.startswith("unix:/") and "\0" not in text:
        return Path(text.removeprefix("unix:"))
    if text.startswith("http://"):
        address = Address.parse(text.removeprefix("http://").removesuffix("/"))
        if address.loopback:
            return address
    raise ValueError("must be unix:/path or http:// on loopback, write http://127.0.0.1:8181")


def _path(value: object, info: ValidationInfo) -> Path:
    path = value if isinstance(value, Path) else Path(_text(value, "run/orders"))
    if not path.parts or "\0" in str(path):
        raise ValueError("is not a path, name a file or folder")
    folder = (info.context or {}).get("folder")
    return path if folder is None else Path(folder) / path


def _workload(value: object) -> SpiffeId:
    if isinstance(value, SpiffeId):
        return value
    try:
        found = SpiffeId.parse(_text(value, "spiffe://shop.example/ns/shop/sa/orders"))
    except ValueError as error:
        raise ValueError(f"is refused: {error}; correct it") from None
    if not found.path:
        raise ValueError("names a trust domain only, add the workload's path")
    return found


@dataclass(frozen=True, slots=True)
class LogTarget:
    """Where a log goes: `kind` file has its `path`, the other kinds have none."""

    kind: Literal["stdout", "none", "file"]
    path: Path | None = None

    def __str__(self) -> str:
        return self.kind if self.path is None else str(self.path)


def _log_target(value: object, info: ValidationInfo) -> LogTarget:
    match value:
        case LogTarget():
            return value
        case "stdout" | "none":
            return LogTarget(value)
    return LogTarget("file", _path(value, info))


def _https(value: str) -> str:
    parts = urlsplit(value)
    plain = value.isascii() and value.isprintable() and " " not in value
    if not plain or parts.scheme != "https" or not parts.hostname or parts.username is not None:
        raise ValueError("must be an https:// URL without user name, correct it")
    return value


Listen = Annotated[
    Address,
    PlainValidator(_listener),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _IP_PORT}),
]
Endpoint = Annotated[
    Address,
    PlainValidator(_endpoint),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^[^\s/@]+:[1-9]\d{0,4}$"}),
]
OpaAddress = Annotated[
    Address | Path,
    PlainValidator(_opa),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(unix:/|http://).+$"}),
]
FilePath = Annotated[
    Path,
    PlainValidator(_path),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
Workload = Annotated[
    SpiffeId,
    PlainValidator(_workload),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^spiffe://[a-z0-9._-]+/.+$", "maxLength": 2048}),
]
Log = Annotated[
    LogTarget,
    PlainValidator(_log_target),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "minLength": 1}),
]
RoutePath = Annotated[str, AfterValidator(check_route_path)]
Method = Annotated[str, Field(pattern=r"^[A-Z]{1,32}$")]
Decision = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(/[A-Za-z_]\w*)+$", max_length=256)]
Https = Annotated[str, Field(max_length=2048), AfterValidator(_https)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
