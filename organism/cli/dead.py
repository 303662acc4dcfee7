"""``organism dead``: the messages that failed for good, with what happened to them, and how they are sent again."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from organism.cli.arguments import Given, meant_by
from organism.cli.journals import HERE, Damage, InJournal
from organism.cli.orders import carried_out
from organism.cli.phrases import short
from organism.cli.tables import cell, instant, table
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.journal.codec import decode_entry
from organism.record import facts
from organism.works.control import Order
from organism.works.dead import dead_message
from organism.works.rows import payload_json

if TYPE_CHECKING:
    from organism.journal import Journal
    from organism.results import DeadMessage

_HEAD: Final = ("message", "died (UTC)", "of", "by", "what", "attempts", "why")


def dead(
    *,
    retry: Annotated[
        str | None,
        Parameter(metavar="ID", help="Send this message again: its id or a unique prefix of it."),
    ] = None,
    all: Annotated[bool, Parameter(help="Also list messages that were sent again.")] = False,  # noqa: A002 - the option's name
    json: Annotated[bool, Parameter(help="JSON lines: one object per message.")] = False,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Lists the messages that failed for good and were not sent again, the oldest first; --retry sends one again.

    A process that works on the journal delivers it immediately; if there is none, it is written into the journal, and 'organism
    resume' delivers it. If a thread is damaged, lists the messages of the others and exits with 5.

    Example: organism dead --retry 91b7
    """
    with where.opened() as found:
        letters, damage = _read(found)
        again = {each.id for each in letters if found.root_of(each.retry) is not None}
    if retry is not None:
        letter = meant_by(retry, {each.id: each for each in letters}, "dead letters")
        if letter is None:
            raise ConfigurationError([f"there is no dead letter '{one_line(retry)}'; 'organism dead' lists all"])
        order = Order(do="retry", thread=letter.thread, question=letter.id)
        return carried_out(order, letter.thread, where, streams)
    shown = [each for each in letters if all or each.id not in again]
    if json:
        for each in shown:
            streams.result(jsons.dumps(_as_json(each, again=each.id in again)))
    elif shown:
        streams.result("\n".join(table([_HEAD, *map(_row, shown)])))
    elif not damage:
        streams.note(
            "every message that failed was sent again; --all lists them" if again else "no message has failed for good"
        )
    return damage.told(streams)


def _read(journal: Journal) -> tuple[list[DeadMessage], Damage]:
    """The dead letters of all chains, the oldest first, and what could not be read."""
    letters: list[DeadMessage] = []
    damage = Damage()
    for chain in journal.chains():
        with damage:
            found = map(decode_entry, journal.documents(chain.root, kinds=("Buried",)))
            letters += [dead_message(fact) for fact in found if isinstance(fact, facts.Buried)]
    return sorted(letters, key=lambda each: each.died_at), damage


def _row(letter: DeadMessage) -> tuple[str, ...]:
    return (
        one_line(letter.id),
        instant(letter.died_at),
        one_line(letter.handler),
        one_line(letter.sender) or "outside",
        cell(short(letter.payload)),
        str(len(letter.attempts)),
        cell(f"{letter.code}: {letter.text}"),
    )


def _as_json(letter: DeadMessage, *, again: bool) -> dict[str, Any]:
    return {
        "id": letter.id,
        "thread": letter.thread,
        "handler": letter.handler,
        "from": letter.sender or None,
        "died_at": letter.died_at,
        "code": letter.code,
        "text": letter.text,
        "attempts": [{"at": each.at, "code": each.code, "text": each.text} for each in letter.attempts],
        "labels": dict(letter.labels),
        **payload_json(letter.payload),
        "conversation": letter.conversation,
        "retried": letter.retry if again else None,
    }
