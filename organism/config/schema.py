"""The JSON Schema of organism.yaml, drawn up from the shapes that read it. It says nothing that draft 7 could not say, since many editors
understand no later one.
"""

from __future__ import annotations

import json
from typing import Final

from organism.config.document import TOP
from organism.config.meanings import MEANINGS
from organism.config.shapes import Drawing, Schema

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
TITLE: Final = "organism.yaml"


def file_schema() -> Schema:
    """What a file may hold, for editors: keys, values and what they mean. What only their whole can tell, such as whether a name is that
    of a handler, is left to ``organism check``.
    """
    drawn = drawing()
    TOP.schema(drawn)
    top = drawn.sections.pop(TOP.named[0])
    return {"$schema": DIALECT, "title": TITLE, **top, "$defs": drawn.sections}


def drawing() -> Drawing:
    """What shapes need to draw up their schemas."""
    return Drawing({section: {key: _told(*said) for key, said in keys.items()} for section, keys in MEANINGS.items()})


def file_schema_text() -> str:
    """The same as JSON, in lines."""
    return json.dumps(file_schema(), indent=2, ensure_ascii=False)


def _told(default: str, means: str) -> str:
    """A sentence of a key, and what holds where it is left out."""
    ends = "" if means.endswith((".", "?", "!")) else "."
    return f"{means[:1].upper()}{means[1:]}{ends}" + (f" Default: {default}." if default else "")
