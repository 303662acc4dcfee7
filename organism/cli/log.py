"""``organism log``: the facts of a thread, one line each, and new ones as they come."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from organism.cli.arguments import Given  # noqa: TC001 - cyclopts reads annotations
from organism.cli.journals import HERE, InJournal, OrLatest
from organism.cli.reading import meant
from organism.cli.tables import instant
from organism.cli.text import cut, one_line
from organism.journal.codec import lacks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from organism.cli.reading import Meant
    from organism.journal import Journal

INTERVAL: Final = 0.25
"""Seconds between two looks at a journal that is followed."""
_SHORT: Final = 60
_HIDDEN: Final = {"format", "root", "fact", "at", "thread", "steps", "n", "prev", "hash"}
"""Keys that a line says otherwise, or not at all."""
_SUMS: Final = {"usage", "own", "threads", "warnings", "image"}
"""Keys that hold much, and nothing that is new."""
_FIRST: Final = ("seq", "handler", "sender", "to", "kind", "outcome", "unit", "payload", "text")
"""Keys that a line begins with, where it has them."""


def log(
    thread: OrLatest = None,
    /,
    *,
    follow: Annotated[bool, Parameter(help="Print new facts as they come, until the thread has ended.")] = False,
    jsonl: Annotated[bool, Parameter(help="The facts as the journal keeps them, as JSON lines.")] = False,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Prints the facts of a thread and those below it, one per line: number, time (UTC), thread, what happened.

    Example: organism log --follow
    """
    with where.opened() as found:
        those = meant(found, thread, limits=True).told(streams)
        pause = partial(time.sleep, INTERVAL) if follow else None
        for document in documents_of(found, those, pause=pause):
            streams.result(json.dumps(document) if jsonl else line_of(document))
            if streams.unread:
                break
    return 0


def documents_of(
    journal: Journal, those: Meant, *, pause: Callable[[], object] | None = None
) -> Iterator[Mapping[str, Any]]:
    """The entries of a thread and those below it.

    With a ``pause``, which is called between two looks, also those that come, until the thread has ended. A conversation goes on
    for as long as somebody looks. Either ends where it is removed.
    """
    of = None if those.thread == those.chain.root else those.thread
    number, ended = 0, False
    while True:
        for document in journal.documents(those.chain.root, after=number, of=of):
            number = document["n"]
            yield document
            ended |= document.get("fact") == "Ended" and document["thread"] == those.thread
        if pause is None or ended or journal.root_of(those.chain.root) != those.chain.root:
            return
        pause()


def line_of(document: Mapping[str, Any]) -> str:
    """An entry in a line: its number, when it was, the thread, the fact, what it holds and the steps it consists of."""
    when = instant(document["at"], "milliseconds")
    if "lost" in document:
        return f"{document['n']:>6}  {when}  {lacks(document)}"
    held = _held(document, _HIDDEN)
    steps = [_step(step, document["thread"]) for step in document.get("steps", ())]
    thread = one_line(str(document["thread"]))
    text = f"{document['n']:>6}  {when}  {thread}  {document['fact']}"
    return "; ".join([f"{text} {held}".rstrip(), *steps])


def _step(step: Mapping[str, Any], thread: str) -> str:
    hidden = {"step", "thread"} if step.get("thread") == thread else {"step"}
    return f"{step['step']} {_held(step, hidden)}".rstrip()


def _held(given: Mapping[str, Any], hidden: set[str]) -> str:
    order = [*(key for key in _FIRST if key in given), *(key for key in given if key not in _FIRST)]
    shown = ((key, given[key]) for key in order if key not in hidden and key not in _SUMS)
    return " ".join(f"{key}={_value(value)}" for key, value in shown if value not in (None, False, "", [], {}))


def _value(value: Any) -> str:
    """A value cut short, payloads without their XML."""
    given = _without_xml(value)
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, separators=(",", ":"))
    return cut(one_line(text), _SHORT)


def _without_xml(value: Any) -> Any:
    inner: Any = value
    if isinstance(value, dict):
        return {key: _without_xml(each) for key, each in inner.items() if key != "$xml"}
    return [_without_xml(each) for each in inner] if isinstance(value, list) else value
