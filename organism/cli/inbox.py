"""``organism inbox`` and ``organism answer``: what people are asked, and what they say to it."""

from __future__ import annotations

import json as jsons
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from organism.cli.arguments import DEFAULT_FILE, Debug, Given
from organism.cli.journals import OfFile, OfJournal, opened
from organism.cli.orders import carried_out
from organism.cli.phrases import asker_text, parts, question_lines, short
from organism.cli.questions import inbox_of
from organism.cli.sending import text_of
from organism.cli.tables import instant, table
from organism.cli.text import cut, one_line
from organism.errors import ConfigurationError
from organism.payloads import takes_lines
from organism.payloads.primitives import BudgetDecision
from organism.works.control import Order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.cli.questions import Waiting
    from organism.results import Question

_HEAD: Final = ("question", "asked (UTC)", "of", "by", "what", "answers with")
_WIDEST: Final = 60


def inbox(
    question: Annotated[
        str | None,
        Parameter(name="ID", help="Show only this question, whole: its id or a unique prefix of it."),
    ] = None,
    /,
    *,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    json: Annotated[bool, Parameter(help="JSON lines: one object per question.")] = False,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Lists the questions that wait for people, the oldest first; 'organism answer' answers them.

    If a thread is damaged, lists the questions of the others and exits with 5.
    """
    with opened(file, journal) as found:
        asked = inbox_of(found)
    one = None if question is None else asked.named(question)
    if json:
        for each in asked.waiting if one is None else [one]:
            streams.result(jsons.dumps(each.as_json()))
    elif one is not None:
        streams.result("\n".join(_whole(one.question, streams.width)))
    elif asked.waiting:
        streams.result("\n".join(table([_HEAD, *map(_row, asked.waiting)])))
    elif not asked.damage:
        streams.note("nobody is asked anything")
    return asked.damage.told(streams)


def _whole(asked: Question, width: int) -> Iterator[str]:
    yield from question_lines(asked, width)
    yield f"answers with: {' or '.join(map(one_line, asked.answers))}"
    if asked.requester is not None:  # of others the classes are not known here
        _, fields = parts(asked.payload)
        yield from takes_lines([BudgetDecision], {name: fields[name] for name in ("unit", "amount")})


def _row(waiting: Waiting) -> tuple[str, ...]:
    asked = waiting.question
    return (
        one_line(asked.id),
        instant(asked.asked_at),
        asked.handler,
        asker_text(asked),
        cut(short(asked.payload), _WIDEST),
        " or ".join(map(one_line, asked.answers)),
    )


def answer(
    question: Annotated[str, Parameter(name="ID", help="The question's id or a unique prefix of it.")],
    /,
    *,
    send: Annotated[
        str | None,
        Parameter(
            allow_leading_hyphen=True,
            metavar="X",
            help="The answer: XML, JSON, @FILE, - for standard input, or plain text if its payload has one required text.",
        ),
    ] = None,
    refuse: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, metavar="TEXT", help="Why there is no answer; the asker is told."),
    ] = None,
    file: OfFile = DEFAULT_FILE,
    journal: OfJournal = None,
    debug: Debug = False,  # noqa: ARG001 - main reads it
    streams: Given,
) -> int:
    """Answers a question for a person, or says why there is no answer.

    A process that works on the journal continues with the answer at once; if there is none, the answer is written into the
    journal, and 'organism resume' continues with it.
    """
    if send is None and refuse is None:
        raise ConfigurationError(
            ["organism answer: give the answer with --send, or say with --refuse why there is none"]
        )
    if send is not None and refuse is not None:
        raise ConfigurationError(
            ["organism answer: --send gives an answer, and --refuse says why there is none: one of them"]
        )
    if refuse is not None and not refuse.strip():
        raise ConfigurationError(["organism answer --refuse: is empty; say why there is no answer"])
    with opened(file, journal) as found:
        waiting = inbox_of(found).named(question)
    text = None if send is None else text_of(send, streams.input)
    order = Order(do="answer", thread=waiting.question.thread, question=waiting.question.id, text=text, refuse=refuse)
    return carried_out(order, waiting.chain, file, journal, streams)
