"""Arguments and texts of one answer, at any brevity: what to quote is chosen once, how much of it by the room there is."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from organism.models.simulation.evidence import Brief, Evidence
from organism.models.simulation.fields import Field
from organism.models.simulation.filling import Filler, Made
from organism.models.simulation.ranking import Passage, Sentence, best, coverage, read
from organism.models.simulation.situation import call_key, is_reply
from organism.models.simulation.words import sentences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from organism.models.contract import ToolSpec
    from organism.models.simulation.documents import Json, Record
    from organism.models.simulation.situation import Situation
    from organism.models.simulation.style import Dice, Style

_INSTRUCTED: Final = 0.5
"""A system prompt is quoted only where it holds so much of the question: it mostly instructs."""
_SOURCES: Final = 4
_TELLING: Final = 30
"""A shorter sentence is a heading or a name, and no remark."""


class Drafts:
    """Writes what one answer may say. ``jitter`` in [0, 1]: how freely sentences of like weight change places. ``calm``: the style that it
    would have if no notice pressed.
    """

    def __init__(
        self, situation: Situation, style: Style, dice: Dice, *, jitter: float, calm: Style | None = None
    ) -> None:
        self.situation = situation
        self.style = style
        self.calm = style if calm is None else calm
        self.dice = dice
        self._jitter = jitter
        self.ladder: tuple[Brief, ...] = Brief.ladder(style)

    @cached_property
    def scored(self) -> list[Sentence]:
        """Every sentence at hand with its weight for what is asked."""
        about = self.situation.about
        found = read(self.situation.material, about, self.dice, jitter=self._jitter)
        found = [sentence for sentence in found if sentence.text != self.situation.question]
        if found or not self.situation.question:
            return found
        own = read([Passage(self.situation.system)], about, self.dice, jitter=0.0)
        return [s for s in own if s.score > 0 and coverage(about, [s]) >= _INSTRUCTED]

    @cached_property
    def quotes(self) -> tuple[Sentence, ...]:
        """The sentences to quote, best first: some more than one text takes, for further fields."""
        return tuple(best(self.scored, 2 * self.style.sentences))

    def evidence(self, brief: Brief, *, item: Record | None = None, answering: bool, again: bool = False) -> Evidence:
        """What arguments are filled from."""
        return Evidence(self.situation, brief, self.quotes, item, answering=answering, again=again)

    def arguments(self, tool: ToolSpec, brief: Brief, item: Record | None = None, *, again: bool = False) -> Made:
        """The arguments of a call; other ones than before where some were not accepted."""
        refused = sum(call.rejected for call in self.situation.calls if call.name == tool.name)
        attempt = refused + (self.situation.complaints if is_reply(tool.name) and not refused else 0)
        evidence = self.evidence(brief, item=item, answering=is_reply(tool.name), again=again)
        return Filler(tool.parameters, evidence, self.dice, attempt).fill(Field(""))

    def key(self, tool: ToolSpec, item: Record | None, *, again: bool) -> str:
        """Equal for calls that would ask the same."""
        return call_key(tool.name, self.arguments(tool, self.ladder[0], item, again=again).value)

    def value(self, schema: Mapping[str, object], brief: Brief) -> Json:
        """A value for the schema of an answer in JSON."""
        filler = Filler(schema, self.evidence(brief, answering=True), self.dice, self.situation.complaints)
        title = schema.get("title")
        return filler.fill(Field.of(title if isinstance(title, str) else "")).value

    def text(self, brief: Brief) -> str:
        """An answer in plain text: quoted sentences, and where they come from."""
        evidence = self.evidence(brief, answering=True)
        said = evidence.words(Field("answer", role="text"))
        quoted = self.quotes[: brief.sentences]
        sources = list(dict.fromkeys(s.source for s in quoted if s.source))[:_SOURCES]
        return f"{said} ({', '.join(sources)})" if sources and brief.optional else said

    def remark(self) -> str:
        """What was found so far, in one sentence, to say along with further calls; empty while there is nothing."""
        fitting = [quote for quote in self.quotes[:1] if quote.score > 0 and len(quote.text) >= _TELLING]
        return f"So far: {fitting[0].text}" if fitting and self.situation.passages else ""

    @cached_property
    def weights(self) -> dict[str, float]:
        """How well each source, and each sentence by itself, fits what is asked; the best of all is 1."""
        top = max((sentence.score for sentence in self.scored), default=0.0) or 1.0
        found: dict[str, float] = {}
        for sentence in self.scored:
            for key in (sentence.source, sentence.text):
                found[key] = max(found.get(key, 0.0), sentence.score / top)
        return found

    def heaviest(self, text: str) -> float:
        """The weight of a text's best sentence."""
        return max((self.weights.get(sentence, 0.0) for sentence in sentences(text)), default=0.0)
