"""Keeps an agent's prompts within its model's window, however long it works.

Before each turn the prompt is measured. Old results are left out of it first (``pruning``); beyond the mark its older turns are replaced
by a summary or a recap, where that is worth it; beyond the hard limit, or once the provider has refused it as too long, also where it is
not, and long results are cut. Then it is measured again: what still does not fit is sent only if it might, and never cut over and over.

What is done depends on estimates, which another process would not have. So it is written down, and a delivery that is run again does
what the record says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from organism.agent.history import NO_NUMBER, SHORTEST, length_of, longest_result
from organism.agent.pruning import said_by
from organism.agent.recaps import EXTRACT, is_recap, recapped, summed_up
from organism.agent.speech import Offer
from organism.agent.summary import EMPTY, Summaries, Summary
from organism.agent.window import Bounds, Extent, bounds, fits_anyway, new_extent, surely_beyond, tokens_of
from organism.errors import HandlerFailedError, ModelError
from organism.quick import maker
from organism.record.images import CutShort

if TYPE_CHECKING:
    from collections.abc import Callable

    from organism.agent.asking import Asking
    from organism.agent.context import AgentContext
    from organism.agent.history import History, Plan
    from organism.agentsettings import Compaction
    from organism.models.completion import Completion
    from organism.settings import AgentSettings, HandlerSettings
    from organism.threads.outcomes import Warned

Told = tuple["Sequence[Warned]", "Sequence[Mapping[str, Any]]"]
"""The warnings that a prompt tells of, and the messages that do."""


@frozen
class _Turn:
    """A turn that is to be taken: its number in the delivery, what it offers, and what is said only this time."""

    number: int
    offer: Offer
    after: Sequence[Mapping[str, Any]]


_new_turn: Final = maker(_Turn)


@frozen
class _Size:
    """An estimate of a prompt's ``tokens``, and what they may be. ``plain``: both are counted by characters."""

    tokens: int
    bounds: Bounds
    plain: bool = False


class Compacting:
    """Takes the turns of one delivery, each with a prompt that fits."""

    def __init__(
        self, handler: HandlerSettings, agent: AgentSettings, asking: Asking, history: History, ctx: AgentContext
    ) -> None:
        self._handler = handler
        self._agent = agent
        self._asking = asking
        self._history = history
        self._ctx = ctx
        self._turn: _Turn | None = None
        self._pruned = history.boundary.place
        """The place before which results are left out."""
        self._reported: tuple[int, Extent] | None = None
        """What the last prompt was charged, in tokens, while the next one begins with it."""

    async def turn(self, offer: Offer, told: Callable[[], Told]) -> Completion:
        """What the model says to the history, and to what it is ``told`` this time of its budget, at the end.

        Raises as :meth:`organism.agent.asking.Asking.turn`, and HandlerFailedError where the prompt cannot be made to fit.
        """
        number = 1 if self._turn is None else self._turn.number + 1
        tells, after = told()
        turn = _new_turn(number, offer, after)
        self._prune(turn)
        if await self._before(turn, f"cut:{number}"):
            tells, after = told()  # a summary may have crossed a level: that is told in this very prompt
            turn = _Turn(number, offer, after)
        self._turn = turn
        settings = self._agent.compaction
        if settings is None:
            return await self._ask(turn, tells)
        key = f"cut:{turn.number}:refused"
        known = self._ctx.cut_before(key)
        if known is None or self._ctx.is_replayed:
            try:
                return await self._ask(turn, tells)
            except ModelError as error:
                if not self._ctx.was_too_long(error, key):
                    raise
                refused = error
            if not await self._after_refusal(turn, settings, key, known):
                raise self._too_large(self._prompt(turn)) from refused
        else:
            await self._after_refusal(turn, settings, key, known)
        try:
            return await self._ask(turn, tells)
        except ModelError as error:
            if not self._ctx.was_too_long(error, f"{key}:again"):
                raise
            raise self._too_large(self._prompt(turn)) from error

    async def _ask(self, turn: _Turn, tells: Sequence[Warned]) -> Completion:
        completion = await self._asking.turn(self._prompt(turn), turn.offer, tells=tells)
        usage = completion.usage
        # What was said only this time is in the figure, and not in the extent: the next prompt is rather less than this makes of it.
        said = usage.input_tokens > 0 and not usage.estimated
        self._reported = (usage.input_tokens, self._extent(turn.offer, ())) if said else None
        return completion

    async def over(self) -> None:
        """The delivery has its reply. In a conversation, which goes on, the history is cut short now where that costs nothing: all of it
        is carried from turn to turn. A model's summary waits for the next turn, since there may be none.
        """
        settings, last = self._agent.compaction, self._turn
        if settings is not None and settings.model is None and self._ctx.conversation is not None and last is not None:
            await self._before(_Turn(last.number + 1, last.offer, ()), "cut:over", over=True)

    def _summaries(self, settings: Compaction) -> Summaries:
        """Who asks for summaries, made where one is needed: most deliveries end without."""
        return Summaries(self._handler, settings, self._asking, self._history, self._ctx)

    # When

    async def _before(self, turn: _Turn, key: str, *, over: bool = False) -> bool:
        """Cuts the history short before a turn, where the prompt is too long; whether it did."""
        settings = self._agent.compaction
        if settings is None:
            return False
        known = self._ctx.cut_before(key)
        if known is not None and await self._repeat(settings, known):
            return True
        if self._ctx.is_replayed or self._ctx.repeats:
            return False
        size = self._size(turn, settings)
        if size is None:
            return False
        plan = self._plan(settings, size.bounds)
        mark, hard = size.bounds.mark or 0, size.bounds.hard or 0
        must = size.tokens > hard
        if not (must or (size.tokens > mark and self._is_worth(turn, plan, size)) or self._ctx.has_summary):
            return False
        why = "over" if over else "limit" if must else "mark"
        left = await self._cut(turn, settings, key, why, plan, size, goal=mark if must else None)
        if not over and not size.plain and must and left > hard:
            self._check(turn, size.bounds)
        return True

    async def _after_refusal(self, turn: _Turn, settings: Compaction, key: str, known: CutShort | None) -> bool:
        """Cuts the history short after the provider has refused the prompt; whether anything was cut."""
        before = self._prompt(turn)
        self._history.note_refused(self._agent.model, _characters(before))
        if known is not None and await self._repeat(settings, known):
            return True
        if self._ctx.is_replayed:
            return False
        tokens, wish = self._ctx.measured(self._asking.call(before, turn.offer))
        allowed = bounds(settings, self._ctx.window(self._agent.model), wish)
        size = _Size(tokens, allowed.refused(_characters(before)))
        plan = self._plan(settings, size.bounds)
        await self._cut(turn, settings, key, "context", plan, size, goal=size.bounds.after_refusal(tokens))
        return self._prompt(turn) != before

    def _is_worth(self, turn: _Turn, plan: Plan | None, size: _Size) -> bool:
        """Whether enough of a prompt would go away."""
        if plan is None:
            return False
        gone = sum(map(length_of, (each for each in plan.replaced if not is_recap(each))))
        return size.bounds.worth(size.tokens * gone // max(1, _characters(self._prompt(turn))))

    def _size(self, turn: _Turn, settings: Compaction) -> _Size | None:
        """The size of a prompt; ``None`` where nobody knows what it may be, or it is far from that."""
        window, refused = self._ctx.window(self._agent.model), self._history.refused(self._agent.model)
        if refused:  # what was met is surer than what is said
            return _Size(
                tokens_of(_characters(self._prompt(turn))), bounds(settings, tokens_of(refused), 0), plain=True
            )
        if window is None:
            return None
        extent, reported = self._extent(turn.offer, turn.after), self._reported
        most = extent.most
        if reported is not None:  # what it begins with was counted by the provider
            most = min(most, reported[0] + extent.beyond(reported[1]).most)
        if fits_anyway(most, settings, window):
            return None
        tokens, wish = self._ctx.measured(self._asking.call(self._prompt(turn), turn.offer))
        return _Size(tokens, bounds(settings, window, wish))

    def _extent(self, offer: Offer, after: Sequence[Mapping[str, Any]]) -> Extent:
        """What a prompt says at most: with all that is left out of it."""
        history = self._history
        beside = len(history.system or "") + _characters(after) + offer.characters
        return new_extent(history.characters + beside, len(history.messages) + len(after) + 1)

    # How

    def _plan(self, settings: Compaction, allowed: Bounds) -> Plan | None:
        history = self._history
        pins = bool(history.messages) and allowed.pins(history.messages[0])
        return history.plan(settings.keep_turns, pins_first=pins)

    async def _cut(
        self, turn: _Turn, settings: Compaction, key: str, why: str, plan: Plan | None, size: _Size, *, goal: int | None
    ) -> int:
        """Cuts the history short, and long results where it is still beyond ``goal``; the tokens that the prompt has then."""
        before, made, longest, tokens = self._prompt(turn), Summary(), 0, size.tokens
        if plan is not None:
            if self._is_worth(turn, plan, size) or self._ctx.has_summary:
                made = await self._summaries(settings).of(plan, size.bounds)
            self._replace(plan, made, size.bounds)
            tokens = self._tokens(turn, plain=size.plain)
        if goal is not None and tokens > goal:
            longest, tokens = self._cut_results(turn, evolve(size, tokens=tokens), goal)
        if plan is None and not longest:
            return tokens
        after = self._prompt(turn)
        cut = CutShort(
            how="cut" if plan is None else "model" if made.text else "recap",
            why=why,
            tokens_before=size.tokens,
            tokens_after=_at_the_same_rate(tokens, size.tokens, self._said(turn, before), self._said(turn, after)),
            messages_before=len(before),
            messages_after=len(after),
            replaced=(0, 0) if plan is None else (plan.since, plan.start),
            digest="" if plan is None else plan.digest,
            window=None if size.plain else size.bounds.window,
            mark=size.bounds.mark,
            longest=longest,
            asked=made.asked,
            text=made.why,
        )
        self._ctx.note_cut(key, cut)
        return tokens

    def _cut_results(self, turn: _Turn, size: _Size, goal: int) -> tuple[int, int]:
        """Cuts long results shorter and shorter, until the prompt has no more than ``goal`` tokens: to how many characters, and its tokens
        then.
        """
        history, tokens, cut = self._history, size.tokens, 0
        longest = max(SHORTEST, longest_result(history.messages) // 2)
        while tokens > goal:
            if history.cut_results(longest):
                cut, tokens = longest, self._tokens(turn, plain=size.plain)
            if longest == SHORTEST:
                break
            longest = max(SHORTEST, longest // 2)
        self._changed()
        return cut, tokens

    async def _repeat(self, settings: Compaction, known: CutShort) -> bool:
        """Does what the record says was done; ``False`` where the history is another one than it was then."""
        if known.digest:
            allowed = Bounds(window=known.window, mark=known.mark)
            plan = self._plan(settings, allowed)
            if plan is None or plan.digest != known.digest:
                return False
            made = Summary()
            # An empty one was answered and paid, too.
            answered = known.how == "model" or known.text.endswith(EMPTY)
            if answered or (known.asked and self._ctx.is_replayed):
                made = await self._summaries(settings).again(plan, allowed)
            elif known.asked and not known.text.startswith("refused"):
                self._summaries(settings).failed()
            self._replace(plan, made, allowed)
        if known.longest:
            self._history.cut_results(known.longest)
        self._changed()
        return True

    def _replace(self, plan: Plan, made: Summary, allowed: Bounds) -> None:
        count = plan.start
        if made.text:
            recap = summed_up(made.text, count=count)
        else:
            recap = recapped(plan.replaced, count=count, lines=allowed.recap_lines(EXTRACT))
        self._history.replace(plan, recap)
        self._changed()

    def _changed(self) -> None:
        """The history is another one now: so is what is left out of it, and nothing of it was measured."""
        self._pruned = self._history.boundary.place
        self._reported = None

    # Prompts

    def _prompt(self, turn: _Turn) -> tuple[Mapping[str, Any], ...]:
        return self._history.prompt_from(self._pruned, *turn.after)

    def _said(self, turn: _Turn, prompt: Sequence[Mapping[str, Any]]) -> int:
        """The characters that are sent, with what is offered."""
        return _characters(prompt) + turn.offer.characters

    def _tokens(self, turn: _Turn, *, plain: bool = False) -> int:
        if plain:
            return tokens_of(_characters(self._prompt(turn)))
        return self._ctx.measured(self._asking.call(self._prompt(turn), turn.offer))[0]

    def _prune(self, turn: _Turn) -> None:
        """Leaves more of the old results out of prompts, once there are enough of them."""
        moved = self._history.boundary.place
        if moved == self._pruned:
            return
        key, before, was = f"prune:{turn.number}", self._prompt(turn), self._pruned
        self._pruned, self._reported = moved, None
        if self._ctx.cut_before(key) is not None or self._ctx.is_replayed or self._ctx.repeats or moved < was:
            return
        numbers = self._history.numbers
        size = self._ctx.measured(self._asking.call(before, turn.offer))[0]
        said = self._said(turn, before), self._said(turn, self._prompt(turn))
        cut = CutShort(
            how="prune",
            why="old",
            tokens_before=size,
            tokens_after=_at_the_same_rate(self._tokens(turn), size, *said),
            messages_before=len(before),
            messages_after=len(before),
            replaced=(max(0, numbers[was]), numbers[moved] if moved < len(numbers) else self._history.count),
            digest="",
            window=self._ctx.window(self._agent.model),
        )
        self._ctx.note_cut(key, cut)

    def _check(self, turn: _Turn, allowed: Bounds) -> None:
        """Raises HandlerFailedError where a prompt surely does not fit; an estimate alone says no such thing."""
        prompt = self._prompt(turn)
        if surely_beyond(prompt, allowed.window):
            raise self._too_large(prompt)

    def _too_large(self, prompt: Sequence[Mapping[str, Any]]) -> HandlerFailedError:
        """What its caller hears of a prompt that cannot be cut any further."""
        model, window = self._agent.model, self._ctx.window(self._agent.model)
        place, largest = max(enumerate(prompt), key=lambda pair: length_of(pair[1]))
        number = self._history.numbers[place - 1] if 0 < place <= len(self._history.numbers) else NO_NUMBER
        what = (
            "the message that it handles"
            if number == self._history.task
            else _WHAT.get(str(largest.get("role")), "a message")
        )
        takes = "takes less" if window is None else f"takes {window} tokens with its answer"
        text = (
            f"the prompt of '{self._ctx.name}' cannot be cut any shorter, and model '{model}' {takes}: {what} has "
            f"{said_by(largest)} characters; send less, or use a model with a longer context"
        )
        return HandlerFailedError("refused", text)


_WHAT: Final = {
    "system": "its system prompt",
    "user": "a message to it",
    "assistant": "an answer of its own",
    "tool": "what a peer or a tool gave it",
}
"""Whose text is the longest of a prompt, by its role."""


def _at_the_same_rate(tokens: int, tokens_before: int, before: int, after: int) -> int:
    """The tokens of a prompt that was cut from ``before`` to ``after`` characters, to be told beside those that it had: those may have been
    counted by the provider, while new text is estimated with room to spare. So it is no more than its share of the characters.
    """
    return min(tokens, -(-tokens_before * after // max(1, before)))


def _characters(prompt: Sequence[Mapping[str, Any]]) -> int:
    return sum(map(length_of, prompt))
