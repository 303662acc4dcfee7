"""Finding the sentences that answer a question: BM25 over sentences, then as many different ones as are wanted."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeAlias

from attrs import frozen

from organism.models.simulation.words import STOPS, sentences, terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from organism.models.simulation.style import Dice

_SATURATION: Final = 1.2
_LENGTH: Final = 0.6
_SHORT: Final = 0.6
"""No sentence counts as shorter than this share of the average: the shortest are headings and asides."""
_ALIKE: Final = 0.7
_SPREAD: Final = 0.15
"""How much the dice may add to a score."""
_WORTH: Final = 0.35
"""A sentence of less than this share of the best one's score is not worth saying."""
_FOCUS: Final = 1.6
_DEFINES: Final = 1.8
_DEFINITION: Final = re.compile(r"(?:(?:an?|the)\s+)?\S+\s+(?:is|are|was|were|means?)\b", re.IGNORECASE)
_FRAGMENT: Final = 0.6
"""What a question or a piece of a table is worth beside a sentence."""
_ASKED: Final = re.compile(r"\b(?:what|who)(?:'s|\s+(?:is|are|was|were|do|does))\s", re.IGNORECASE)
_Split: TypeAlias = tuple[str, str, list[str], float]
UNANSWERED: Final = "Nothing at hand answers this"
"""How it says that it found nothing. Where another one said so, that is no find: it has the words of the question, and answers nothing."""
_MOST: Final = 4000
"""Sentences that are read at most; a prompt that holds more has been seen enough."""


@frozen
class Passage:
    """A text at hand. ``source`` is what it is called (a path, an id; empty: unknown)."""

    text: str
    source: str = ""


@frozen
class Sentence:
    """A sentence of a passage. ``score`` is its weight for the question; 0: nothing in common; ``place`` its order, ``own`` its
    terms that the question does not have.
    """

    text: str
    source: str
    score: float
    place: int
    terms: frozenset[str]
    own: frozenset[str]


def read(passages: Iterable[Passage], question: str, dice: Dice, *, jitter: float) -> list[Sentence]:
    """All sentences of the passages in order, scored against the question.

    ``jitter`` in [0, 1] is how much a score may be drawn up by the dice; 0 leaves the order to the words alone.
    """
    wanted = Counter(terms(question))
    found = _split(passages, wanted)
    focus = _focus(question)
    weights = _weights(wanted, found, focus)
    average = sum(len(own) for _, _, own, _ in found) / len(found) if found else 1.0
    scored: list[Sentence] = []
    for place, (text, source, own, fit) in enumerate(found):
        score = _score(Counter(own), weights, max(_SHORT, len(own) / (average or 1.0))) * (1 + fit) / 2
        if text.endswith("?") or not text.endswith(STOPS):
            score *= _FRAGMENT
        if score and own[:1] == [focus] and _DEFINITION.match(text):
            score *= _DEFINES
        if score and jitter:
            score *= 1 + _SPREAD * jitter * dice.share(text)
        scored.append(Sentence(text, source, score, place, said := frozenset(own), said - wanted.keys()))
    return scored


def _split(passages: Iterable[Passage], wanted: Counter[str]) -> list[_Split]:
    """Every different sentence with its source, its terms, and the share of the wanted terms that its passage has."""
    found: list[_Split] = []
    seen: set[str] = set()
    for passage in passages:
        split = (text for text in sentences(passage.text) if not text.startswith(UNANSWERED))
        new = [text for text in dict.fromkeys(split) if text not in seen][: _MOST - len(found)]
        seen.update(new)
        own = [terms(text) for text in new]
        said = {term for entry in own for term in entry}
        fit = len(said & wanted.keys()) / len(wanted) if wanted else 0.0
        found.extend((text, passage.source, entry, fit) for text, entry in zip(new, own, strict=True))
    return found


def _focus(question: str) -> str:
    """The term that a question asks the meaning of: the frame of "What is a frame?"; empty where it asks otherwise."""
    asked = _ASKED.search(question)
    return next(iter(terms(question[asked.end() :])), "") if asked is not None else ""


def _weights(wanted: Counter[str], found: Sequence[_Split], focus: str) -> dict[str, float]:
    """How much each term of the question tells: by how rare it is among the sentences, and more if it is the focus."""
    carriers = Counter(term for _, _, own, _ in found for term in set(own) & wanted.keys())
    weights = {term: math.log(1 + (len(found) - carriers[term] + 0.5) / (carriers[term] + 0.5)) for term in wanted}
    return {term: weight * (_FOCUS if term == focus else 1.0) for term, weight in weights.items()}


def _score(own: Counter[str], weights: Mapping[str, float], length: float) -> float:
    bend = _SATURATION * (1 - _LENGTH + _LENGTH * length)
    # ``sum`` rounds by the order of what it adds up, and in another way since Python 3.12: what is equally good is so everywhere.
    return math.fsum(
        weight * own[term] * (_SATURATION + 1) / (own[term] + bend) for term, weight in weights.items() if term in own
    )


def best(found: Sequence[Sentence], most: int) -> list[Sentence]:
    """At most ``most`` sentences that say different things, best first; where none fits the question, the first ones.

    Texts that hardly hold words (a heading, a name) only stand in where there is nothing else.
    """
    least = _WORTH * max((s.score for s in found), default=0.0)
    fitting = sorted((s for s in found if s.score > 0 and s.score >= least), key=lambda s: (-s.score, s.place))
    chosen: list[Sentence] = []
    for candidates in ([s for s in fitting if len(s.terms) >= 3], fitting, found):
        for sentence in candidates:
            if len(chosen) >= most:
                return chosen
            if not any(_alike(sentence, other) for other in chosen):
                chosen.append(sentence)
        if chosen:
            break
    return chosen


def _alike(one: Sentence, other: Sentence) -> bool:
    """Whether two sentences say the same, but for the question's own terms, which every fitting sentence has."""
    smaller = min(len(one.own), len(other.own))
    return one.text == other.text or len(one.own & other.own) > _ALIKE * smaller or one.terms == other.terms


def coverage(question: str, found: Iterable[Sentence]) -> float:
    """The share of the question's terms that the sentences contain, in [0, 1]; 0 where it has none."""
    wanted = set(terms(question))
    said = {term for sentence in found for term in sentence.terms}
    return len(wanted & said) / len(wanted) if wanted else 0.0
