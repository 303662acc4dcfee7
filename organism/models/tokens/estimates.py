"""How many tokens a prompt will be, without a tokenizer: what was measured for its beginning, and the makeup of the rest.

A tokenizer would have to be downloaded, is another one for each model, and does not know what a provider adds. What the
provider itself reported for an earlier call is exact for everything that the next call repeats, and agents repeat nearly
all of it. New text is held at the tokens a byte that were reported for texts like it (``witnesses``), and at what the finest
tokenizer makes of such signs (``profiles``) as far as it is like none. Bytes themselves are the bound that strict
accounting holds: byte-level tokenizers make no more tokens than there are bytes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from attrs import define

from organism.models.tokens.prefixes import Base, Beginnings
from organism.models.tokens.prompt import Prompt, compact
from organism.models.tokens.reports import ABSURD, SAID_FROM, OfferOverhead, Overhead, Witnesses
from organism.quick import maker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from organism.models.tokens.profiles import Text

_GARBLED: Final = 100_000
"""Tokens that no provider adds of its own."""


@define(eq=False)
class _Looked:
    """What is known of a prompt: the beginnings that it has in common with earlier ones, and the tokens of all of it where it has none."""

    prompt: Prompt
    bases: list[Base]
    tokens: int | None = None


_new_looked: Final = maker(_Looked)


class Estimates:
    """What was learned about one model of one provider. Memory of the process: what is held by it is recorded as a fact.

    It is bounded: ``prefixes`` beginnings of prompts (some 3 MB in all), some dozens of profiles, two overheads.
    """

    def __init__(self, *, prefixes: int = 4096) -> None:
        self._beginnings = Beginnings(most=prefixes)
        self._witnesses = Witnesses()
        self._bare = Overhead()
        self._offering = OfferOverhead()
        self._latest: _Looked | None = None
        """What was last looked up for which prompt, until something is learned: most are reported as they were estimated."""

    def input_tokens(self, prompt: Prompt, *, overhead: int = 0) -> int:
        """The input to hold: the report for the longest known beginning, and new text; ``overhead`` included.

        That is what the configuration says that the provider adds, in tokens. More is held where reports of short prompts
        have shown more, and no whole beginning of this one was reported.

        The answer to an earlier call counts as new where it comes back in the history: its reported output may have
        included reasoning that is not sent again, and the report of the next call covers it anyway. Tools that the earlier
        call had not are new as well; those that only it had were paid for in its report, which then is a bound. So is the
        report of a prompt that began alike and went on otherwise, such as another task of the same agent.
        """
        looked = self._looked(prompt)
        costs: list[int] = []
        whole = False
        for base in looked.bases:
            whole = whole or base.whole
            costs.append(base.reported + self.tokens(base.new) + overhead + self._lately_offered(prompt, base))
        if not whole:
            costs.append(self._whole(looked) + max(overhead, self._overhead(prompt)))
        return min(costs)

    def tokens(self, texts: Sequence[Text]) -> int:
        """The estimate for new text, rounded up."""
        return math.ceil(self._witnesses.tokens(texts)) if texts else 0

    def learn(self, prompt: Prompt, reported: int) -> bool:
        """Takes in what the provider reported as the input of this prompt (validated; 0 says nothing); whether it was believed."""
        if not 0 < reported <= ABSURD * prompt.size + _GARBLED:
            return False
        # Parts that are no text say nothing of how this model cuts text.
        if not prompt.unbounded:
            self._learn_text(prompt, reported)
        self._beginnings.remember(prompt, reported)
        self._latest = None
        return True

    def recall(self, digests: Sequence[str], reported: int) -> None:
        """Takes in what another process learned of a prompt, by its :func:`~organism.models.tokens.prefixes.digests_of`."""
        self._beginnings.recall(digests, reported)
        self._latest = None

    def as_json(self) -> dict[str, Any]:
        """All that was learned, for :meth:`of` in another process."""
        return {
            "beginnings": self._beginnings.as_json(),
            "witnesses": self._witnesses.as_json(),
            "bare": self._bare.as_json(),
            "offering": self._offering.as_json(),
        }

    @classmethod
    def of(cls, image: Mapping[str, Any]) -> Estimates:
        """What another process had learned."""
        made = cls()
        made._beginnings.take(image["beginnings"])
        made._witnesses.take(image["witnesses"])
        made._bare.take(image["bare"])
        made._offering.take(image["offering"])
        return made

    def _looked(self, prompt: Prompt) -> _Looked:
        latest = self._latest
        if latest is None or latest.prompt is not prompt:
            latest = self._latest = _new_looked(prompt, self._beginnings.of(prompt))
        return latest

    def _whole(self, looked: _Looked) -> int:
        """The estimate for all of a prompt, as if nothing of it was known."""
        if looked.tokens is None:
            looked.tokens = self.tokens(looked.prompt.texts)
        return looked.tokens

    def _learn_text(self, prompt: Prompt, reported: int) -> None:
        looked = self._looked(prompt)
        for base in looked.bases:
            if base.whole and base.offer == prompt.offer:
                self._witnesses.learn(base.new, reported - base.reported)
                return
        if prompt.offer:
            self._offering.leaves(reported, prompt.size)
        if prompt.size < SAID_FROM:
            learned = self._offering if prompt.offer else self._bare
            learned.learn(reported - self._whole(looked))
        else:
            self._witnesses.learn(prompt.texts, reported)

    def _overhead(self, prompt: Prompt) -> int:
        return max(self._bare.tokens, self._offering.tokens if prompt.offer else 0)

    def _lately_offered(self, prompt: Prompt, base: Base) -> int:
        """What the provider adds to tools, where the report that is built on was for none."""
        return self._offering.tokens if prompt.offer and not base.offer else 0


Learned = dict[tuple[str, str | None, str], Estimates]
"""What was learned about each model: by its provider, the server where that is named, and the model."""


def learned_as_json(learned: Learned) -> list[dict[str, Any]]:
    """What was learned, a JSON object for each model."""
    return [
        {"provider": provider, "server": server, "model": model, **known.as_json()}
        for (provider, server, model), known in learned.items()
    ]


def learned_of(images: Sequence[Mapping[str, Any]]) -> Learned:
    """What :func:`learned_as_json` gave, as something of its own that can be learned from."""
    return {(each["provider"], each["server"], each["model"]): Estimates.of(each) for each in images}


def bound(prompt: Prompt, *, sent_along: Sequence[Mapping[str, Any]] = ()) -> int:
    """The most tokens that the prompt can be: the bytes of everything that is sent, options included."""
    return prompt.size + sum([_size_of(options) for options in sent_along if options])


def _size_of(options: Mapping[str, Any]) -> int:
    # What JSON has no form for is a matter of the provider: it may have one, such as the SDKs for dates, or send nothing of it.
    return len(compact(options).encode("utf-8", "surrogatepass"))
