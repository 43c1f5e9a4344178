"""The reference pages, made from the code that they describe.

Invariants: pure; docs/reference holds exactly these texts (a test compares). To write them again:
`python -m sidecar.reference docs/reference`.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from policy.reason import Reason
from sidecar.address import Address
from sidecar.config import Config, LogTarget
from sidecar.telemetry.catalogue import CATALOGUE, Kind, Series

_MADE: Final = "<!-- Made by `python -m sidecar.reference docs/reference`; do not edit. -->\n"


def config_schema() -> str:
    """config.schema.json."""
    return json.dumps(Config.schema(), indent=2) + "\n"


def config_page() -> str:
    """config.md: one table for each section."""
    parts = [
        "# Configuration\n",
        _MADE,
        "One YAML file, `narrowgate run --config FILE`; its JSON Schema is "
        "[config.schema.json](config.schema.json). `narrowgate config check FILE` reports every "
        "error at once, each with its line. Nothing unknown is accepted, relative paths start at "
        "the folder of the file, and a field without a default is required.\n",
    ]
    parts.extend(_section("The file", Config))
    return "\n".join(parts)


def metrics_page() -> str:
    """metrics.md: one row for each series."""
    lines = [
        "# Metrics\n",
        _MADE,
        "Prometheus text on `telemetry.metrics_listen`, path `/metrics`. With several workers, one "
        "scrape has all of them together, in the way of the last column. No label takes an "
        "unbounded value from a request: what is not known beforehand is `unknown`.\n",
        "| Series | Type | Labels | Meaning | Workers |",
        "|---|---|---|---|---|",
        *(_series_row(series) for series in CATALOGUE.values()),
        "\n## Buckets\n",
        *(
            f"- `{series.name}`: {', '.join(f'{bound:.12g}' for bound in series.bounds)}"
            for series in CATALOGUE.values()
            if series.kind is Kind.HISTOGRAM
        ),
    ]
    return "\n".join(lines) + "\n"


def reasons_page() -> str:
    """reasons.md: one row for each reason."""
    lines = [
        "# Reasons\n",
        _MADE,
        "Why a call was refused. The label stands in the answer's `x-narrowgate-reason` (for "
        "authenticated peers only), in the logs, and in the label `reason` of the metrics.\n",
        "| Reason | HTTP | gRPC | Meaning |",
        "|---|---|---|---|",
        *(
            f"| `{reason.label}` | {reason.status} {reason.phrase} | {reason.grpc_status} "
            f"| {_cell(reason.sentence)} |"
            for reason in Reason
        ),
    ]
    return "\n".join(lines) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "config.schema.json": config_schema,
    "config.md": config_page,
    "metrics.md": metrics_page,
    "reasons.md": reasons_page,
}


def main(arguments: list[str]) -> int:
    """Write all pages into the folder that is named."""
    if len(arguments) != 1:
        print("usage: python -m sidecar.reference FOLDER", file=sys.stderr)
        return 2
    for name, page in PAGES.items():
        (Path(arguments[0]) / name).write_text(page(), encoding="utf-8")
    return 0


def _series_row(series: Series) -> str:
    labels = ", ".join(f"`{label}`" for label in series.labels)
    merged = "worst" if series.name == "narrowgate_posture" else series.merge.value
    return f"| `{series.name}` | {series.kind.value} | {labels} | {_cell(series.help)} | {merged} |"


def _section(title: str, model: type[BaseModel]) -> Iterator[str]:
    rows, inner = [], []
    for name, field in model.model_fields.items():
        nested = _model_in(field.annotation)
        if nested is not None:
            path = name if title == "The file" else f"{title.strip('`')}.{name}"
            is_list = "tuple" in str(field.annotation)
            inner.append((f"`{path}{'[]' if is_list else ''}`", nested))
        rows.append(
            f"| `{name}` | {_cell(_type(field))} | {_default(field)} "
            f"| {_cell(field.description or '')} |"
        )
    yield f"## {title}\n"
    yield f"{(model.__doc__ or '').strip()}\n"
    yield "| Field | Type | Default | Meaning |\n|---|---|---|---|"
    yield "\n".join(rows) + "\n"
    for inner_title, nested in inner:
        yield from _section(inner_title, nested)


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None


_NAMES: Final = {
    "SpiffeId": "SPIFFE ID",
    "Address": "address:port",
    "Path": "path",
    "LogTarget": "stdout, none or path",
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "NoneType": "null",
}


def _type(field: FieldInfo) -> str:
    return _type_name(field.annotation) + _bounds(field)


def _type_name(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _type_name(inner[0])
    if origin is tuple:
        return f"list of {_type_name(inner[0])}"
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin in {Union, types.UnionType}:
        return " or ".join(_type_name(part) for part in inner)
    if issubclass(annotation, Enum):
        return " or ".join(f"`{choice.value}`" for choice in annotation)
    return "section" if issubclass(annotation, BaseModel) else _NAMES[annotation.__name__]


_SIDES: Final = (("gt", "over", max), ("ge", "at least", max), ("le", "at most", min))


def _bounds(field: FieldInfo) -> str:
    """Of several bounds on one side, the narrower one holds."""
    words = []
    for sign, text, narrower in _SIDES:
        found = [getattr(item, sign) for item in field.metadata if hasattr(item, sign)]
        if found:
            words.append(f", {text} {narrower(found)}")
    return "".join(words)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, BaseModel):
        return "its defaults"
    if isinstance(value, Address | LogTarget | Path):
        return f"`{value}`"
    if isinstance(value, Enum):
        value = value.value
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
