"""What could stand in a field: copied from what is at hand, quoted from what came back, or plainly not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field, frozen

from organism.models.simulation.documents import Json, Record
from organism.models.simulation.fields import reference_of, references_in, role_of
from organism.models.simulation.ranking import UNANSWERED, Sentence, coverage
from organism.models.simulation.schemas import same
from organism.models.simulation.situation import Situation
from organism.models.simulation.words import (
    joined,
    key_words,
    name_words,
    one_line,
    sentences,
    shortened,
    singular,
    stem,
    terms,
    word_set,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.models.simulation.fields import Field
    from organism.models.simulation.style import Style

_POSITIVE: Final = word_set("found ok success answered relevant granted approved done complete valid sufficient")
_COVERED: Final = 0.3
"""From this share of the question's terms on, what was found is an answer."""
_TERMS: Final = 6


@frozen
class Brief:
    """How much may be written: ``sentences`` and ``characters`` of a text, ``entries`` of a list, ``optional`` fields."""

    sentences: int
    characters: int
    entries: int
    optional: bool = True

    @classmethod
    def ladder(cls, style: Style) -> tuple[Brief, ...]:
        """From all that the style allows down to the least that says something, and then to nothing that may be missing."""
        full = cls(style.sentences, 240 * style.sentences, 2 * style.breadth)
        half = cls(max(1, full.sentences // 2), max(160, full.characters // 2), max(1, full.entries // 2))
        short = [cls(1, size, entries) for size, entries in ((240, 2), (120, 1))]
        bare = [cls(1, size, entries, optional=False) for size, entries in ((60, 1), (24, 1), (1, 0))]
        return (full, half, *short, *bare)


@define
class Evidence:
    """What a set of arguments is filled from.

    ``item``: the record that this call is about. ``sentences``: what to quote, best first. ``answering``: the arguments
    are the answer to the task, not a question to somebody. ``again``: what was asked before found nothing. ``told``: how
    many sentences were already written.
    """

    situation: Situation
    brief: Brief
    sentences: Sequence[Sentence] = ()
    item: Record | None = None
    answering: bool = False
    again: bool = False
    told: int = field(default=0, init=False)

    # What a field is given by name or meaning; an optional field is filled from nothing else.

    def grounded(self, wanted: Field, kind: str) -> Iterator[Json]:
        """Values for a field that what is at hand speaks for, best first; the filler keeps the first that is valid."""
        yield from self._of_item(wanted, kind)
        if self.answering and wanted.key in self.situation.found:
            found = self.situation.found[wanted.key]
            if not isinstance(found, str) or self._is_short(found):
                yield found
        quoted = wanted.role == "text" and (self.answering or self.item is not None)
        if not quoted:
            yield from self._of_task(wanted)
        match kind:
            case "string":
                yield from self._strings(wanted)
            case "array":
                yield from self._lists(wanted)
            case "number":
                yield from self._shares(wanted)
            case "integer" if wanted.role == "count" and self.answering and self.situation.records:
                yield len(self.situation.records)
            case "boolean":
                yield from self._flags(wanted)
            case _:
                pass
        if self.answering and not quoted:
            yield from (r.fields[wanted.key] for r in self.situation.records[:8] if wanted.key in r.fields)

    def _of_item(self, wanted: Field, kind: str) -> Iterator[Json]:
        if self.item is None:
            return
        fields = self.item.fields
        for key in (wanted.key, singular(wanted.key)):
            if key in fields:
                found = fields[key]
                yield self._cut(found) if isinstance(found, str) and wanted.role == "text" else found
        if kind != "string":
            return
        if wanted.role == "reference" and (called := reference_of(fields)):
            yield called
        if wanted.role == "text" and (wanted.required or self.answering):
            own = [v for k, v in fields.items() if isinstance(v, str) and role_of(k) in {"text", "unknown"}]
            if own:
                yield self._cut(max(own, key=len))
        if wanted.role == "title" and (known := [fields[key] for key in ("title", "name") if key in fields]):
            yield known[0]

    def _of_task(self, wanted: Field) -> Iterator[Json]:
        """What came in under the same name; lists also where one entry came."""
        if wanted.key in self.situation.trees:
            yield self.situation.trees[wanted.key]
        if wanted.key in self.situation.given:
            found = self.situation.given[wanted.key]
            yield found
            yield [] if found == "" else [found]  # XML writes an empty list as an empty element

    def _strings(self, wanted: Field) -> Iterator[Json]:
        words = " ".join(self.key_terms())
        match wanted.role:
            case "query" if not self.again and self.situation.question:
                yield self.situation.question
            case "query" | "terms" if words:
                yield words
            case "reference":
                yield from self._references()
            case "text" if (self.answering or (wanted.required and self.item is not None)) and (
                text := self.prose(wanted)
            ):
                yield text
            case "title" if self.answering and words:
                yield words.capitalize()
            case _:
                pass

    def _lists(self, wanted: Field) -> Iterator[Json]:
        most = self.brief.entries
        if wanted.role == "reference":
            if named := self._references():
                yield [*named[:most]]
        elif wanted.role in {"terms", "query"}:
            if found := self.key_terms():
                yield [*found]
        elif self.sentences and (wanted.role == "text" or self.answering):
            yield [*(self._cut(sentence.text) for sentence in self.sentences[:most])]

    def _shares(self, wanted: Field) -> Iterator[Json]:
        if wanted.role == "confidence" and self.answering:
            yield round(self.covered, 2)
        elif wanted.role == "count" and self.answering and self.situation.records:
            yield len(self.situation.records)

    def _flags(self, wanted: Field) -> Iterator[Json]:
        """Whether it went well, by how much of the question is covered; any other flag by its own word in the task."""
        named = name_words(wanted.name)
        if wanted.negative or any(word in _POSITIVE for word in named):
            calls = self.situation.calls
            failed = bool(calls) and all(call.failed for call in calls)
            well = self.covered >= _COVERED if self.situation.question else not failed
            yield well != wanted.negative
        elif self.answering and {stem(word) for word in named} & set(terms(self.situation.about)):
            yield True

    def _references(self) -> list[str]:
        """What the quoted sentences come from, then whatever else has a name."""
        quoted = [s.source for s in self.sentences[: max(1, self.brief.sentences)] if s.source]
        given = reference_of(self.situation.given) or next(iter(references_in(self.situation.about, 1)), "")
        own = [reference_of(self.item.fields)] if self.item is not None else []
        found = [*own, *quoted] if self.answering or own else [given]
        rest = [given, *self.situation.references] if self.answering else [*self.situation.references]
        named = [name for name in found if name] or [name for name in rest if name][:1]
        return list(dict.fromkeys(named))

    @property
    def covered(self) -> float:
        """The share of the question's terms that the quoted sentences contain."""
        return coverage(self.situation.question, self.sentences)

    def key_terms(self) -> list[str]:
        """What to search for."""
        found = key_words(self.situation.about, _TERMS)
        return key_words(self.situation.about, max(1, len(found) // 2)) if self.again else found

    def choice(self, options: Iterable[Json], wanted: Field) -> Json | None:
        """The entry of an enumeration that is given, or named in the task, or (answering) in what was found."""
        known = list(options)
        copied = [*self._of_item(wanted, ""), *self._of_task(wanted)]
        for value in copied:
            for option in known:
                if same(option, value) or (isinstance(value, str) and value == str(option)):  # XML knows texts only
                    return option
        places = [self.situation.question, " ".join(self.situation.said)]
        if self.answering:
            places.append(" ".join(sentence.text for sentence in self.sentences))
        for place in places:
            said = set(terms(place))
            for option in known:
                if isinstance(option, str) and (own := set(terms(option))) and own <= said:
                    return option
        return None

    # Texts.

    def _is_short(self, text: str) -> bool:
        return len(text) <= self.brief.characters and len(sentences(text)) <= self.brief.sentences

    def _cut(self, text: str) -> str:
        return shortened(text, max(self.brief.characters, 1))

    def prose(self, wanted: Field) -> str:
        """Quoted sentences: the best first, the others in the order in which they were found."""
        most = 1 if wanted.brief else self.brief.sentences
        rest = self.sentences[self.told :] or self.sentences
        chosen = list(rest[:most])
        self.told += len(chosen)
        ordered = chosen[:1] + sorted(chosen[1:], key=lambda sentence: sentence.place)
        return self._cut(joined(sentence.text for sentence in ordered))

    def words(self, wanted: Field) -> str:
        """What to say in a text that nothing speaks for."""
        question = self.situation.question
        if self.answering and wanted.role in {"text", "unknown"}:
            if self.sentences:
                return self.prose(wanted)
            if question:
                return self._cut(f"{UNANSWERED}: {question}")
        if wanted.role == "text" and self.sentences:
            return self.prose(wanted)
        return self._cut(one_line(question or " ".join(self.situation.said))) or "nothing"

    # Lists of objects.

    def entries(self, names: Iterable[str]) -> list[Evidence]:
        """Evidence for each entry of a list of objects with these properties: records that have such fields, else quotes."""
        keys = {"".join(name_words(name)) for name in names}
        known = (*self.situation.records, *self.situation.given_records)
        shared = {id(record): sum(key in record.fields for key in keys) for record in known}
        most = max(shared.values(), default=0)
        about = [record for record in known if shared[id(record)] == most and most * 2 >= len(keys) > 0]
        cited = {sentence.source: place for place, sentence in reversed(list(enumerate(self.sentences)))}
        ranked = sorted(about, key=lambda record: cited.get(reference_of(record.fields), len(cited)))
        unique = list({tuple(record.fields.items()): record for record in ranked}.values())
        if not unique:
            unique = [
                Record("", {"text": s.text, "path": s.source} if s.source else {"text": s.text}) for s in self.sentences
            ]
        return [evolve(self, item=record) for record in unique[: self.brief.entries]]
