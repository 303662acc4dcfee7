"""Payload classes in a few lines, for people and for models."""

from __future__ import annotations

import attrs

from organism.payloads.definition import describe, within
from organism.payloads.json_writer import json_value
from organism.payloads.types import MADE, Field, spelled


def description(cls: type) -> str:
    """The class, its fields with their types and documentation, and then those of the payloads inside.

    ::

        Greeting: Someone to be greeted.
        - name (str): Who it is.
        - tags (list[str], may be left out)

    Raises PayloadTypeError for what is no payload.
    """
    return "\n\n".join(_payload(one) for one in within(cls))


def _payload(cls: type) -> str:
    described = describe(cls)
    head = f"{described.name}: {described.doc}" if described.doc else described.name
    return "\n".join([head, *map(_field, described.fields)])


def _field(field: Field) -> str:
    about = spelled(field.type)
    if field.default is MADE or field.default is None or field.absent_is_none:
        about += ", may be left out"
    elif field.default is not attrs.NOTHING:
        about += f", {json_value(field.default, field.type)!r} if left out"
    return f"- {field.name} ({about}): {field.doc}" if field.doc else f"- {field.name} ({about})"
