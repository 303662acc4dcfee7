"""What a journal holds and what threads came to, read through what everybody may read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from organism.budget.claims import VECTOR
from organism.journal import open_journal
from organism.journal.prompts import prompts
from organism.usage import pico
from tests.crash.fake_model import KEY, digest

if TYPE_CHECKING:
    from collections.abc import Iterator

Document = Mapping[str, Any]
HoldName = tuple[str, int]
"""(root thread, number) of a hold."""


@frozen
class Record:
    """What a journal holds at one instant: the facts of each chain, and the sums of what was spent, by unit."""

    documents: Mapping[str, Sequence[Document]]
    spent: Counter[str]

    @classmethod
    def of(cls, url: str) -> Record:
        """The journal as it stands, every chain of it checked."""
        if not Path(url.partition(":")[2]).exists():
            return cls({}, Counter())  # killed before it was made
        journal = open_journal(url, readonly=True)
        try:
            roots = [chain.root for chain in journal.chains()]
            for root in roots:
                assert (damage := journal.verify(root)) is None, damage
            spent: Counter[str] = Counter()
            for row in journal.spendings():
                spent.update(dict(zip(VECTOR, row.amounts, strict=True)))
            return cls({root: list(journal.documents(root)) for root in roots}, spent)
        finally:
            journal.close()

    def facts(self, *kinds: str) -> Iterator[tuple[str, Document]]:
        """(root thread, fact) of every fact of these kinds."""
        for root, documents in self.documents.items():
            yield from ((root, each) for each in documents if each["fact"] in kinds)

    def answered(self) -> Counter[str]:
        """How many answers to each question were kept."""
        return Counter(_key_in(fact) for _, fact in self.facts("CallCompleted"))

    def prompts(self) -> Counter[str]:
        """How often each prompt was held for, whole as it was to be sent."""
        told = (prompt for documents in self.documents.values() for prompt in prompts(documents).values())
        return Counter(digest(prompt) for prompt in told)

    def open_holds(self) -> set[HoldName]:
        """What is held; that none is held or settled twice is checked on the way."""
        open_: set[HoldName] = set()
        for root, fact in self.facts("CallHeld", "CallSettled"):
            name = (root, fact["hold"])
            if fact["fact"] == "CallHeld":
                assert name not in open_, f"held twice: {name}"
                open_.add(name)
            else:
                assert name in open_, f"settled without being held: {name}"
                open_.remove(name)
        return open_

    def ended(self) -> dict[str, Document]:
        """How each root thread ended; that none ended twice is checked on the way."""
        ends: dict[str, Document] = {}
        for root, fact in self.facts("Ended"):
            if fact["thread"] == root:
                assert root not in ends, f"ended twice: {root}"
                ends[root] = fact
        return ends


def _key_in(fact: Document) -> str:
    """The question that an answer belongs to."""
    (key,) = set(KEY.findall(json.dumps([fact["text"], fact.get("kept")])))
    return str(key)


@frozen
class Outcome:
    """How a thread ended, as far as two runs of it must agree."""

    outcome: str
    replies: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, result: Document) -> Outcome:
        """From what ``--json`` prints."""
        replies = tuple((each["from"], each["payload"]["Said"]["text"]) for each in result["replies"])
        return cls(result["outcome"], replies, tuple(sorted(_warnings(result))))


def _warnings(result: Document) -> Iterator[str]:
    for each in result["warnings"]:
        yield f"{each['scope']} {each['unit']} {each['level']} {each['threshold']}"
    for thread in result["threads"]:
        yield from _warnings(thread)


def spent(usage: Document) -> Counter[str]:
    """The figures of a thread that add up, from what ``--json`` prints; money in 10^-12 USD."""
    figures = {unit: usage[unit] for unit in VECTOR} | {"cost_usd": pico(Decimal(usage["cost_usd"]))}
    return Counter(figures)


def charged(charge: Document) -> Counter[str]:
    """The figures of one attempt, as :func:`spent`."""
    figures = {unit: charge.get(unit, 0) for unit in ("input_tokens", "output_tokens", "model_calls")}
    tokens = figures["input_tokens"] + figures["output_tokens"]
    return Counter(figures | {"tokens": tokens, "cost_usd": charge.get("cost", 0), "messages": 0})


def result_of(end: Document) -> Document:
    """What ``--json`` prints of a thread, from the fact of its end."""
    return {
        "outcome": end["outcome"],
        "replies": [{"from": sender, "payload": payload} for sender, payload in end["replies"]],
        "warnings": end["warnings"],
        "threads": [result_of(each) for each in end["threads"]],
        "usage": end["usage"],
    }
