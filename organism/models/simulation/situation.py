"""A prompt understood: what is asked, what came in with it, which calls were made and what came back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from organism.models.simulation.documents import (
    Document,
    Json,
    Record,
    Scalar,
    documents,
    leaves,
    loads,
    prose,
    records,
)
from organism.models.simulation.fields import Role, reference_of, references_in, role_of
from organism.models.simulation.notices import PRESSED, Shortage, notices, pressure
from organism.models.simulation.ranking import Passage
from organism.models.simulation.tokens import calls_of, text_of
from organism.models.simulation.words import normal, one_line, sentences
from organism.models.tokens.prompt import compact
from organism.names import ORGANISM

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from organism.models.contract import Message

ASKS_ORGANISM: Final = f"{ORGANISM}_"
"""How the tools begin with which the organism itself is addressed."""
_FAILURES: Final = frozenset({"HandlerFailed", "InvalidPayload", "BudgetExhausted", "DeadLetter"})
_FAILED: Final = re.compile(
    r"\s*(?:<(?:[\w.-]+:)?|\{\s*\")?(?:HandlerFailed|InvalidPayload|BudgetExhausted)\b|\s*\{\s*\"error\""
    r"|\s*(?:\w*error|\w*exception|traceback\b[^:\n]{0,40})\s*[:(]",
    re.IGNORECASE,
)
_REFERENCES: Final = 64
_LONGEST_QUESTION: Final = 600
_SCRAPS: Final[tuple[Role, ...]] = ("title", "unknown")
_MATERIAL: Final = 40
"""A leaf of so many characters is something to read, whatever it is called."""


@frozen
class Call:
    """A tool call that was made. ``arguments`` is ``None`` where they were no JSON; ``result`` ``None``: none came yet."""

    name: str
    arguments: Json
    result: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the result says that the call failed."""
        return self.result is not None and _FAILED.match(self.result) is not None

    @property
    def rejected(self) -> bool:
        """Whether the arguments were not accepted, so that other ones may be."""
        return self.failed and "InvalidPayload" in (self.result or "")[:200]

    @property
    def exhausted(self) -> bool:
        """Whether whoever was called has no budget left."""
        return self.failed and "exhausted" in (self.result or "")[:400].casefold()

    @property
    def asks_organism(self) -> bool:
        """Whether the organism itself was asked: what it answers is no find."""
        return self.name.startswith(ASKS_ORGANISM)

    @property
    def refused_more(self) -> bool:
        """Whether it asked for more budget, and got none."""
        return self.asks_organism and "BudgetRefused" in (self.result or "")[:200]

    @property
    def key(self) -> str:
        """Equal for calls with equal arguments."""
        return call_key(self.name, self.arguments)


def is_reply(name: str) -> bool:
    """Whether a tool hands in the answer: ``reply``, or ``reply_<Payload>`` where there are several."""
    return name == "reply" or name.startswith(("reply_", "reply-"))


def call_key(name: str, arguments: Json) -> str:
    """What makes two calls the same: the name and the arguments, whatever their order."""
    return f"{name}({compact(_sorted(arguments))})"


def _sorted(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(entry) for entry in value] if isinstance(value, list) else value


@frozen(kw_only=True)
class Situation:
    """Everything that a next step depends on.

    ``question``: what is asked, empty where nothing is. ``given``: the scalars of the task's payload by normalised name,
    earlier deliveries' behind the newest's. ``trees``: its objects and lists by normalised name. ``said``: the task's own
    texts. ``records`` and ``passages``: what came back from calls since the task, the newest turn's first; ``found``: the fields by
    normalised name of a newest turn that made one call; ``older``: passages from before, the task's own among them. ``calls``: made since the task; ``asked``: keys of all calls ever made. ``rounds``: assistant
    turns since the task. ``complaints``: how often an answer was not accepted. ``pressure``: of the budget notices,
    in [0, 1]. ``shortage``: what the newest of them says of what is left.
    """

    question: str
    system: str
    given: Mapping[str, Scalar]
    trees: Mapping[str, Json]
    said: tuple[str, ...]
    given_records: tuple[Record, ...]
    records: tuple[Record, ...]
    found: Mapping[str, Json]
    passages: tuple[Passage, ...]
    older: tuple[Passage, ...]
    references: tuple[str, ...]
    calls: tuple[Call, ...]
    asked: frozenset[str]
    rounds: int
    complaints: int
    pressure: float
    shortage: Shortage | None = None

    @property
    def about(self) -> str:
        """What to search for: the question, or what the task says."""
        return self.question or " ".join(self.said)

    @property
    def material(self) -> tuple[Passage, ...]:
        """All that may be quoted, the newest first."""
        return (*self.passages, *self.older)


@frozen
class _Told:
    """What one user message says."""

    question: str
    given: dict[str, Scalar]
    trees: dict[str, Json]
    said: tuple[str, ...]
    passages: tuple[Passage, ...]
    records: tuple[Record, ...]
    complaint: bool = False


@frozen
class _Heard:
    """What came back from calls."""

    records: list[Record] = field(factory=list[Record])
    passages: list[Passage] = field(factory=list[Passage])
    references: dict[str, None] = field(factory=dict[str, None])
    trees: dict[str, Json] = field(factory=dict[str, "Json"])


def understand(messages: Sequence[Message]) -> Situation:
    """Reads a prompt; any list of chat-completions messages is taken."""
    noticed = notices(messages)
    told = {
        place: _told(text_of(message.get("content")))
        for place, message in enumerate(messages)
        if message.get("role") == "user" and place not in noticed
    }
    tasks = [place for place, one in told.items() if not one.complaint]
    task = tasks[-1] if tasks else -1
    calls = _calls(messages)
    since = sorted((entry for entry in calls if entry[0] > task), key=lambda entry: -entry[0])
    now = told.get(task, _Told("", {}, {}, (), (), ()))
    heard = _heard([call for _, call in since], now.question)
    newest = [call for place, call in since if place == since[0][0]]
    before = [told[place] for place in reversed(tasks[:-1])]
    earlier = _heard([call for place, call in calls if place < task], now.question)
    given: dict[str, Scalar] = {}
    for one in [now, *before]:
        given = {**one.given, **given}
    return Situation(
        question=next((one.question for one in [now, *before] if one.question), ""),
        system="\n".join(text_of(m.get("content")) for m in messages if m.get("role") in {"system", "developer"}),
        given=given,
        trees=now.trees,
        said=now.said,
        given_records=now.records,
        records=tuple(heard.records),
        found=_heard(newest, now.question).trees if len(newest) == 1 else {},
        passages=tuple(heard.passages),
        older=(*now.passages, *earlier.passages, *(p for one in before for p in one.passages)),
        references=tuple(heard.references),
        calls=tuple(call for _, call in since),
        asked=frozenset(call.key for _, call in calls),
        rounds=sum(1 for message in messages[task + 1 :] if message.get("role") == "assistant"),
        complaints=sum(call.rejected and is_reply(call.name) for _, call in since)
        + sum(t.complaint for place, t in told.items() if place > task),
        # Who was refused more has as little as before, though no notice says so again.
        pressure=max(pressure(noticed, task), PRESSED if any(call.refused_more for call in newest) else 0.0),
        shortage=_shortage(messages, noticed, task),
    )


def _shortage(messages: Sequence[Message], noticed: Mapping[int, float], task: int) -> Shortage | None:
    """What the notice at the end of the prompt tells, in figures."""
    last = len(messages) - 1
    return Shortage.told(text_of(messages[last].get("content"))) if last > task and last in noticed else None


def _calls(messages: Sequence[Message]) -> list[tuple[int, Call]]:
    """Every tool call with its place and its result."""
    results: dict[str, str] = {}
    for message in messages:
        if message.get("role") == "tool":
            results[str(message.get("tool_call_id", ""))] = text_of(message.get("content"))
    found: list[tuple[int, Call]] = []
    for place, message in enumerate(messages):
        for name, arguments, identity in calls_of(message):
            found.append((place, Call(name, loads(arguments), results.get(identity))))
    return found


def _told(text: str) -> _Told:
    """Reads a user's message: its payload and the prose around it."""
    inside = documents(text)
    around = prose(text, inside)
    complaint = bool(inside) and all(document.name in _FAILURES for document in inside)
    scalars = [(key, value) for document in inside for key, value in leaves(document.tree, document.name)]
    question, rest = _question(scalars, around)
    given: dict[str, Scalar] = {}
    for key, value in scalars:
        given.setdefault(normal(key), value)
    found = [record for document in inside for record in records(document)]
    texts = [str(value) for _, value in scalars if isinstance(value, str) and value.strip()]
    # What comes with a question are its circumstances, and nothing to quote unless it is meant to be read.
    passages = [*_passages_of(found, reference_of(given), question, () if question else _SCRAPS)]
    passages.extend(Passage(part) for part in rest if part)
    return _Told(
        question=question,
        given=given,
        trees={
            normal(k): v
            for d in inside
            if isinstance(d.tree, dict)
            for k, v in d.tree.items()
            if isinstance(v, (dict, list))
        },
        said=tuple(texts or ([one_line(around)] if around and not question else [])),
        passages=tuple(passages),
        records=tuple(found),
        complaint=complaint,
    )


def _question(scalars: Sequence[tuple[str, Scalar]], around: str) -> tuple[str, tuple[str, ...]]:
    """The question of a message, and what else its prose says."""
    best, weight = "", 0.0
    for key, value in scalars:
        if isinstance(value, str) and value.strip() and len(value) <= _LONGEST_QUESTION:
            asks = (3.0 if value.rstrip().endswith("?") else 0.0) + (2.0 if role_of(key) in {"query", "terms"} else 0.0)
            if asks > weight:
                best, weight = one_line(value), asks
    if weight or scalars:
        # Beside a payload, a short line only says where it comes from.
        return best, (around,) if len(around) >= _MATERIAL else ()
    found = sentences(around)
    if not found:
        return "", ()
    asking = [sentence for sentence in found if sentence.endswith("?") and len(sentence) <= _LONGEST_QUESTION]
    chosen = asking[-1] if asking else found[0]
    if len(chosen) > _LONGEST_QUESTION:
        return "", (around,)
    at = around.find(chosen)
    if at < 0:
        return chosen, tuple(sentence for sentence in found if sentence != chosen)
    return chosen, (around[:at].strip(), around[at + len(chosen) :].strip())


def _passages_of(
    found: Sequence[Record], source: str, question: str, scraps: Collection[Role] = _SCRAPS
) -> list[Passage]:
    """What there is to read in records: texts, and whatever is long; short ones with the roles of ``scraps`` only where
    there is nothing else.
    """
    long: dict[str, Passage] = {}
    short: dict[str, Passage] = {}
    for record in found:
        called = reference_of(record.fields) or source
        for key, value in record.fields.items():
            if not isinstance(value, str) or not value.strip() or value in long or one_line(value) == question:
                continue
            role = role_of(key)
            # Entries of a list of bare texts are read alike: else the longest of them would be all that there is to read.
            bare = record.listed and key == "value" and " " in value.strip()
            if role == "text" or bare or (len(value) >= _MATERIAL and role != "reference"):
                long[value] = Passage(value, called)
            elif role in scraps and value != called:
                short[value] = Passage(value, called)
    return list((long or short).values())


def _heard(calls: Sequence[Call], question: str) -> _Heard:
    """Reads what came back, failures left out."""
    heard = _Heard()
    for call in calls:
        if call.result is None or call.failed or not call.result.strip() or is_reply(call.name) or call.asks_organism:
            continue
        given = {normal(k): v for k, v in leaves(call.arguments)}
        source = reference_of(given)
        inside = documents(call.result)
        around = prose(call.result, inside)
        found = [record for document in inside for record in records(document)]
        heard.records.extend(found)
        heard.trees.update({normal(k): v for d in inside if isinstance(d.tree, dict) for k, v in d.tree.items()})
        heard.passages.extend(_passages_of(found, source, question) or _figures(inside, source))
        for record in found:
            if called := reference_of(record.fields):
                heard.references.setdefault(called)
        if around:
            heard.passages.append(Passage(around, source))
            if not inside:
                for reference in references_in(around, _REFERENCES):  # paths and URLs are records of their own
                    heard.references.setdefault(reference)
                    heard.records.append(Record("", {"path": reference}, listed=True))
        if source and (found or around):
            heard.references.setdefault(source)
    return heard


def _figures(inside: Sequence[Document], source: str) -> list[Passage]:
    """A result that has no texts is told by its figures."""
    told = [f"{key}: {value}" for d in inside for key, value in leaves(d.tree, d.name) if not isinstance(value, str)]
    return [Passage(", ".join(told), source)] if told else []
