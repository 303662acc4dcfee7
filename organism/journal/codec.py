"""Facts as JSON objects, and back: what every journal on a disk holds, and what reads them without payload classes.

A document is ``{"format": 2, "root": ..., "fact": "Accepted", "at": ..., "thread": ..., "steps": [{"step": "Posted", ...}], ...}``:
the fields of the fact's class beside the three keys that say what it is. :mod:`organism.journal.forms` has the rules for fields.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from attrs import fields, has

from organism.errors import JournalError, OrganismError
from organism.journal.chain import content_of, utf8
from organism.journal.forms import Object, Tagged, form_of, slots
from organism.journal.texts import LONGEST, root_mark, whole
from organism.journal.values import Misread
from organism.journal.writers import ByClass, line_writer, string
from organism.likeness import without_secrets
from organism.names import told
from organism.record import facts
from organism.threads.outcomes import Failure, Warned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.journal.secrets import Marked
    from organism.journal.texts import Texts
    from organism.payloads import Vocabulary
    from organism.record.facts import Fact

FORMAT: Final = 2
"""The version of what is written. It changes with every change that a reader of the last one would misunderstand."""

FACTS: Final = facts.FACTS
"""Every fact there is."""
STEPS: Final[tuple[type, ...]] = get_args(facts.Step)
"""Every step there is."""

_WRITERS: Final = ByClass(lambda cls: line_writer(cls, FORMAT), FACTS)
_HEAD: Final = ("format", "root")
_FACT: Final = Tagged("fact", FACTS)


def content(fact: Fact, root: str, marked: Marked | None = None) -> bytes:
    """What a chain holds of a fact of this root thread: its JSON object in canonical form (see :mod:`organism.journal.chain`).

    Secrets are left out (:mod:`organism.journal.secrets`), also those that are ``marked``. Raises JournalError where the fact holds
    what cannot be written, or comes to more than an entry may have.
    """
    return contents(fact, root, root_mark(root), marked)[0]


def contents(fact: Fact, root: str, mark: bytes, marked: Marked | None = None) -> tuple[bytes, bytes]:
    """The content of a fact, and the same with marks (see :mod:`organism.journal.texts`); ``mark`` is :func:`root_mark`."""
    texts: Texts = {}
    try:
        found = _WRITERS[fact.__class__](fact, texts, root)
        hidden = marked is not None and marked.forms and marked.in_texts((found, *texts))
        if hidden or without_secrets(found) != found or not (found.isascii() or _is_utf8(found)):
            # A secret, or half a character, may go from one text into the next: then no mark stands for another text.
            raw = shown = utf8(_censored(found, root, texts, marked))
        else:
            shown = found.encode()
            raw = whole(shown, mark, texts)
    except (OrganismError, TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise JournalError(f"thread {told(root)}: {type(fact).__name__} cannot be written: {error}") from error
    if len(raw) > LONGEST:
        raise JournalError(
            f"thread {told(root)}: {type(fact).__name__} comes to {len(raw)} bytes; an entry has {LONGEST} at most"
        )
    return raw, shown


def as_written(fact: Fact, raw: bytes, shown: bytes) -> Fact:
    """The fact as its entry has it, of which ``raw`` and ``shown`` are what :func:`contents` gave: no secret is kept beside an entry either.
    An entry without marks is rare: it names its root, so it is one that a secret was left out of.
    """
    return decode(json.loads(raw)) if raw is shown else fact


def written_of(fact: Fact, root: str, marked: Marked | None) -> tuple[bytes, Fact]:
    """What a chain holds of a fact, and the fact as that has it. Raises JournalError."""
    raw, shown = contents(fact, root, root_mark(root), marked)
    return raw, as_written(fact, raw, shown)


def _is_utf8(text: str) -> bool:
    """Whether it holds no half characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _censored(found: str, root: str, texts: Texts, marked: Marked | None) -> str:
    """The entry without marks and secrets."""
    plain = whole(_halves(found), _halves(string(root)[:-1]), texts).decode("utf-8", "surrogatepass")
    return without_secrets(plain if marked is None else marked.hide(plain))


def _halves(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def encode(fact: Fact, root: str) -> dict[str, Any]:
    """The JSON object of a fact of this root thread. Raises JournalError where it holds what cannot be written."""
    made: dict[str, Any] = json.loads(content(fact, root))
    return made


def encode_lost(root: str, count: int, at: float) -> dict[str, Any]:
    """The object that stands where ``count`` facts are missing, up to the instant ``at``."""
    return {"format": FORMAT, "root": root, "at": at, "lost": count}


def lacks(document: Mapping[str, Any]) -> str:
    """How many facts are missing where such an object stands."""
    lost = document["lost"]
    return "1 fact is missing here" if lost == 1 else f"{told(lost)} facts are missing here"


def check_not_newer(document: Mapping[str, Any]) -> None:
    """Raises JournalError for the object of a version that is newer than this: it may mean what this one knows nothing of."""
    known = document.get("format")
    if type(known) is int and known > FORMAT:
        raise JournalError(
            f"was written by a newer version of organism (format {known}, and this one has {FORMAT}); use that one"
        )


def decode(document: Mapping[str, Any], vocabulary: Vocabulary | None = None) -> Fact:
    """The fact of such an object.

    Without a vocabulary, payloads are :class:`organism.journal.PlainPayload`. Raises JournalError for an unknown format or fact,
    and with the path of a field that does not say what it should; and where facts are missing.
    """
    known = document.get("format")
    check_not_newer(document)
    if type(known) is not int or known != FORMAT:
        raise JournalError(f"format {told(known)} is not known; this version reads format {FORMAT}")
    if "lost" in document:
        raise JournalError(f"{lacks(document)}: not all could be written")
    rest = {**document}
    for key in _HEAD:
        rest.pop(key, None)
    try:
        return cast("Fact", _FACT.read(rest, vocabulary))
    except Misread as error:
        name = document.get("fact")
        raise JournalError(f"{name}: {error}" if error.path else str(error)) from None
    except RecursionError:
        raise JournalError(f"{document.get('fact')}: is nested too deep to be read") from None


def decode_entry(entry: Mapping[str, Any], vocabulary: Vocabulary | None = None) -> Fact:
    """The fact of an entry of a chain, as :func:`decode` reads it. Raises JournalError with its thread and number."""
    try:
        return decode(content_of(entry), vocabulary)
    except JournalError as error:
        raise JournalError(f"thread {told(entry.get('root'))}, entry {told(entry.get('n'))}: {error}") from None


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the lines that journals of JSON lines hold, derived from the classes of the facts."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A line of an organism's journal, format {FORMAT}",
        "oneOf": [*({"$ref": f"#/$defs/{cls.__name__}"} for cls in FACTS if cls is not facts.Ended), *_OWN],
        "$defs": {**_VALUES, **_definitions()},
    }


_LINE: Final[Mapping[str, Any]] = {
    "format": {"const": FORMAT},
    "root": {"type": "string", "description": "The root thread of the thread that it happened in."},
    "n": {"type": "integer", "minimum": 1, "description": "The entry's number in its chain."},
    "prev": {
        "type": ["string", "null"],
        "pattern": "^[0-9a-f]{64}$",
        "description": "The hash of the entry before; null in the first.",
    },
    "hash": {
        "type": "string",
        "pattern": "^[0-9a-f]{64}$",
        "description": "SHA-256, in hex, of the line up to the comma before this key, with a closing brace behind it.",
    },
}
"""What every line has beside the fields of its fact."""

_OWN: Final = ({"$ref": "#/$defs/line.Ended"}, {"$ref": "#/$defs/line.Lost"})

_VALUES: Final[Mapping[str, Any]] = {
    "payload": {
        "description": "A payload: the object of its fields under its name, and its XML.",
        "type": "object",
        "properties": {"$xml": {"type": "string"}},
        "required": ["$xml"],
        "additionalProperties": {"type": "object"},
        "minProperties": 2,
        "maxProperties": 2,
    },
    "decimal": {"description": "An exact decimal number.", "type": "string", "pattern": r"^-?[0-9.]+(E[+-]?[0-9]+)?$"},
    "float": {
        "description": "A number that is not finite, which JSON has no form for.",
        "type": "object",
        "properties": {"$float": {"enum": ["inf", "-inf", "nan"]}},
        "required": ["$float"],
        "additionalProperties": False,
    },
}


def _definitions() -> dict[str, Any]:
    made: dict[str, Any] = {}
    for cls in FACTS:
        if cls is not facts.Ended:
            made[cls.__name__] = _of_line(Object(cls).definition("fact"))
    # Ended stands in a line of its own, and inside of another as the record of a sub-thread.
    made["line.Ended"] = _of_line(Object(facts.Ended).definition("fact"))
    made["line.Lost"] = _of_line(
        {
            "description": "Facts are missing here: a session log could not keep up, or could not be written.",
            "type": "object",
            "properties": {"at": {"type": "number"}, "lost": {"type": "integer", "minimum": 1}},
            "required": ["at", "lost"],
            "additionalProperties": False,
        }
    )
    made |= {cls.__name__: Object(cls).definition("step") for cls in STEPS}
    made |= {cls.__name__: Object(cls).definition() for cls in _inner()}
    return made


def _of_line(definition: dict[str, Any]) -> dict[str, Any]:
    return {
        **definition,
        "properties": {**_LINE, **definition["properties"]},
        "required": [*_LINE, *definition["required"]],
    }


def _inner() -> Iterator[type]:
    """The attrs classes that stand inside of facts and steps, in no order that matters."""
    seen: set[Any] = {Failure, Warned}
    waiting: list[type] = [*FACTS, *STEPS, Failure, Warned]
    while waiting:
        for form in _forms(waiting.pop()):
            if isinstance(form, Object) and form.cls not in seen:
                seen.add(form.cls)
                waiting.append(form.cls)
    yield from sorted(seen, key=lambda cls: str(cls.__name__))


def _fields(form: Any) -> Iterator[Any]:
    cls: Any = form.__class__
    yield from fields(cls) if has(cls) else ()


def _forms(cls: type) -> Iterator[Any]:
    waiting: list[Any] = [slot.form for slot in slots(cls)]
    while waiting:
        form = waiting.pop()
        yield form
        if not isinstance(form, (Object, Tagged)):
            for each in _fields(form):
                inner: Any = getattr(form, each.name)
                waiting += inner if isinstance(inner, tuple) else [inner]


__all__ = [
    "FACTS",
    "FORMAT",
    "STEPS",
    "as_written",
    "check_not_newer",
    "content",
    "decode",
    "decode_entry",
    "encode",
    "encode_lost",
    "form_of",
    "schema",
    "written_of",
]
