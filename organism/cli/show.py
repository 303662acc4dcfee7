"""``organism show``: what happened in a thread, for a person to read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from organism.budget.caps import figure
from organism.budget.claims import VECTOR
from organism.cli.arguments import Given  # noqa: TC001 - cyclopts reads annotations
from organism.cli.journals import HERE, InJournal, OrLatest
from organism.cli.phrases import forecast_text
from organism.cli.reading import meant
from organism.cli.report import partial_text, problem_line, usage_table
from organism.cli.story.page import How
from organism.cli.story.story import Story
from organism.cli.tables import figure_text, instant, limits_text, table
from organism.cli.text import one_line, wrapped
from organism.journal.codec import decode_entry
from organism.journal.prompts import requests
from organism.kernel.reading import Reading
from organism.kernel.times import running_time
from organism.names import CONVERSATION, is_within
from organism.record import facts
from organism.results import result_of
from organism.works.ordered import successor_in
from organism.works.rows import threads_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.cli.reading import Meant
    from organism.cli.story.page import Line
    from organism.journal import Journal
    from organism.record.facts import Fact
    from organism.results import ThreadResult
    from organism.usage import Estimate
    from organism.works.rows import ThreadRow

_TIME: Final = 9
"""Columns of the seconds at the left."""
_LIMITS: Final = ("of the conversation", "limit", "used", "held", "kept back", "left")
_DEEPEST: Final = 12
"""Frames: what stands deeper is drawn no further to the right."""


def show(
    thread: OrLatest = None,
    /,
    *,
    prompts: Annotated[bool, Parameter(help="The whole prompt of each call, message by message.")] = False,
    full: Annotated[bool, Parameter(help="Payloads field by field and answers of models, whole.")] = False,
    xml: Annotated[bool, Parameter(help="Payloads as XML, whole.")] = False,
    where: InJournal = HERE,
    streams: Given,
) -> int:
    """Shows what happened in a thread, in order: messages, model calls and what they cost, warnings, the end.

    Times are seconds since its beginning. What a handler asks of another is indented below it.

    Example: organism show 8315 --full
    """
    with where.opened() as found:
        those = meant(found, thread)
        rows = threads_of(found, those.chain, owned=where.is_owned)
        documents = list(found.documents(those.chain.root))
        successor = _successor(found, those)
    how = How(full=full, xml=xml, prompts=prompts, width=streams.width - _TIME - 4)
    streams.result("\n".join(_told(those, rows, documents, how, streams.width)))
    if successor is not None:
        streams.result(
            f"conversation {one_line(those.chain.root.removeprefix(CONVERSATION))} goes on in {one_line(successor)}"
        )
    return 0


def _successor(journal: Journal, those: Meant) -> str | None:
    """The conversation in which one goes on that has come to its end; ``None``: it has not, or a part of it is meant."""
    root = those.chain.root
    if those.thread != root or not root.startswith(CONVERSATION):
        return None
    return successor_in(journal, root.removeprefix(CONVERSATION))


def _told(
    those: Meant, rows: list[ThreadRow], documents: list[Mapping[str, Any]], how: How, width: int
) -> Iterator[str]:
    every = list(map(decode_entry, documents))
    whole = those.thread == those.chain.root
    told = [fact for fact in every if whole or is_within(fact.thread, those.thread)]
    mine = [row for row in rows if whole or is_within(row.result.thread, those.thread)]
    name = mine[0].result.thread if len(mine) == 1 else those.thread
    story = Story(name, requests(documents), how, within=None if whole else those.thread)
    for fact in every:
        story.tell(fact)
    yield from _head(those, mine, told)
    left = min((line.depth for line in story.lines), default=0)
    before, passed = math.inf, 0.0
    for line in story.lines:
        passed += max(0.0, line.at - before)  # the clock may have been set back by days
        before = line.at
        yield from _drawn(line, line.depth - left, passed, width)
    tops = {those.thread, *(row.result.thread for row in mine)}
    results = [result_of(fact) for fact in told if isinstance(fact, facts.Ended) and fact.thread in tops]
    over = {result.thread for result in results}
    waiting = list(story.waiting())
    open_ones = [row for row in mine if row.result.thread not in over]
    if open_ones:
        yield ""
        yield from (f"{row.result.outcome}: {one_line(row.result.thread)}" for row in open_ones)
        yield from (f"  {each}" for each in waiting)
    yield from _end([*results, *(row.result for row in open_ones)], width)
    if whole and those.thread.startswith(CONVERSATION):
        yield from _left(those.thread.removeprefix(CONVERSATION), every)


def _left(conversation: str, every: list[Fact]) -> Iterator[str]:
    """What the turns of a conversation have used of its limits until its last entry, and what is left for more of them."""
    reading = Reading()
    for fact in every:
        reading.take(fact)
    found = reading.state.conversations.get(conversation)
    if found is None:  # the chain has lost its beginning, which verify names
        return
    rows: list[tuple[str, ...]] = []
    for unit, name in enumerate(VECTOR):
        used, held, limit, left = found.node.figures(unit)
        if limit is not None:
            kept = figure(unit, found.node.caps.limit[unit] - found.node.caps.working[unit])
            rows.append((name, *(figure_text(name, each) for each in (limit, used, held, kept, left))))
    most = found.node.caps.seconds
    if most is not None:
        ran = found.seconds + sum(running_time(reading.state, turn, reading.state.now) for turn in found.turns[:1])
        rows.append(("seconds", *(figure_text("seconds", each) for each in (most, ran, 0, 0, max(0.0, most - ran)))))
    if rows:
        yield ""
        yield from table([_LIMITS, *rows], right=range(1, 6))


def _head(those: Meant, rows: list[ThreadRow], told: list[Fact]) -> Iterator[str]:
    yield those.named + (f", began {instant(told[0].at)} UTC" if told else "")
    accounts = {row.result.thread: row.accounts for row in rows}
    openings = {step.thread: step for fact in told for step in fact.steps if isinstance(step, facts.ThreadOpened)}
    for thread in [row.result.thread for row in rows] or [those.thread]:
        opening = openings.get(thread)
        if opening is not None:
            labels = ", ".join(f"{key}={value}" for key, value in opening.labels.items())
            which = f"{one_line(thread)}: " if those.thread.startswith(CONVERSATION) else ""
            under = ", ".join(accounts.get(thread, ()))
            with_accounts = f"; accounts {one_line(under)}" if under else ""
            with_labels = f"; labels {one_line(labels)}" if labels else ""
            limits = limits_text(opening.budget.limits)
            yield f"{which}{opening.handler or 'no handler'}; limits: {limits}{with_accounts}{with_labels}"
    yield ""


def _drawn(line: Line, depth: int, passed: float, width: int) -> Iterator[str]:
    """A line with its time at the left, broken to fit, its later parts below its text."""
    indent = " " * (2 + 2 * min(depth, _DEEPEST))
    room = width - _TIME - len(indent)
    first, *rest = wrapped(line.text, room - 2)
    yield f"{passed:{_TIME}.3f}{indent}{first}".rstrip()
    left = " " * (_TIME + len(indent) + 2)
    for text in (*rest, *line.more):
        yield f"{left}{text}".rstrip()


def _end(results: list[ThreadResult], width: int) -> Iterator[str]:
    if not results:
        return
    yield ""
    for result in results:
        if partial := partial_text(result, width=width):
            yield from (partial, "")
    yield usage_table(results)
    for result in results:
        yield from (f"  {forecast_text(each)}" for each in estimates_of(result))
    for result in results:
        if result.outcome in _PROBLEMS and (problem := problem_line(result)):
            yield problem


def estimates_of(result: ThreadResult) -> Iterator[Estimate]:
    """What was forecast in a thread and below it."""
    yield from result.estimates
    for each in result.threads:
        yield from estimates_of(each)


_PROBLEMS: Final = ("exhausted", "failed", "stopped", "cancelled")
