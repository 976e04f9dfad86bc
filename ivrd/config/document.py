"""What each key is and takes, in words, derived from the annotations in `keys`.

The rule that holds here: derived only. A range or a description that reads wrong is mended in `keys`, and the checks,
the error messages and the configuration reference follow.
"""

from __future__ import annotations

import msgspec
from msgspec import inspect

from .keys import App, Server

__all__ = ["SECTIONS", "KeyDoc", "document", "expected"]

SECTIONS: dict[str, type[msgspec.Struct]] = {"server": Server, "apps.NAME": App}


class KeyDoc(msgspec.Struct, frozen=True, kw_only=True):
    """One key of ivrd.toml.

    Attributes:
        section: the table it stands in, `server` or `apps.NAME`.
        name: the key.
        type: what it takes, in words, with its range.
        default: its default as written in TOML; "" where the key has none.
        required: the key must be given.
        unit: the unit of a number, such as `seconds`; "" where it has none.
        description: what it does.
    """

    section: str
    name: str
    type: str
    default: str
    required: bool
    unit: str
    description: str


def document() -> list[KeyDoc]:
    """All keys, in the order of the sections and of their keys."""
    return [_key(section, field) for section, struct in SECTIONS.items() for field in _fields(struct)]


def expected(kind: inspect.Type) -> str:
    """What a key of this type takes, as it may follow "give": `a whole number from 1 to 1024`."""
    match kind:
        case inspect.Metadata(type=inner):
            unit = (kind.extra or {}).get("unit", "")
            return f"{expected(inner)} (seconds)" if unit == "seconds" else expected(inner)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType(ge=low, le=high):
            return "a whole number" if low is None else f"a whole number from {low} to {high}"
        case inspect.FloatType(gt=None, ge=low, le=high):
            return f"a number from {low} to {high}"
        case inspect.FloatType(gt=low, le=high):
            return f"a number above {low}, to {high}"
        case inspect.LiteralType(values=values):
            return " or ".join(f"'{value}'" for value in values)
        case inspect.VarTupleType(item_type=item):
            return f"an array, each item {expected(item)}"
        case inspect.UnionType(types=kinds):
            return " or ".join(expected(each) for each in kinds if not isinstance(each, inspect.NoneType))
        case _:
            return "a string"


def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)
    return described.fields


def _key(section: str, field: inspect.Field) -> KeyDoc:
    meta = field.type
    assert isinstance(meta, inspect.Metadata)
    return KeyDoc(
        section=section,
        name=field.name,
        type=expected(meta).removesuffix(" (seconds)"),
        default="" if field.required or field.default is None else msgspec.json.encode(field.default).decode(),
        required=field.required,
        unit=_unit(meta),
        description=(meta.extra_json_schema or {})["description"],
    )


def _unit(kind: inspect.Type) -> str:
    """The unit of a key; that of an optional one stands inside the union."""
    if isinstance(kind, inspect.Metadata):
        return str((kind.extra or {}).get("unit", "")) or _unit(kind.type)
    if isinstance(kind, inspect.UnionType):
        return next(filter(None, map(_unit, kind.types)), "")
    return ""
