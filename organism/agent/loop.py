"""A delivery to an agent: turns of a model, peers asked between them, until it replies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from organism.agent.history import History, shortened
from organism.agent.telling import Telling
from organism.agent.tools import Mistaken, Toolbox, Wanted, as_reply
from organism.agent.wording import incoming, system_prompt
from organism.errors import BudgetExhaustedError, HandlerFailedError
from organism.message import Reply
from organism.models.completion import Call
from organism.payloads import encode_json
from organism.payloads.primitives import BudgetExhausted, InvalidPayload

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from organism.agent.context import AgentContext
    from organism.models.completion import Completion
    from organism.models.contract import ToolSpec
    from organism.settings import AgentSettings, HandlerSettings

CORRECTIONS: Final = 3
"""How often an agent that neither calls nor replies is asked to correct itself."""
FOR_THE_ANSWER: Final = 0.1
"""Share of what is kept back that the messages of a grace call leave to its answer, beyond those that it must have."""


def agent_handler(
    handler: HandlerSettings, handlers: Mapping[str, HandlerSettings]
) -> Callable[[Any, AgentContext], Coroutine[Any, Any, Reply[Any] | None]]:
    """The function that handles an agent's messages."""
    agent = handler.agent
    if agent is None:
        msg = f"'{handler.name}' is no agent"
        raise ValueError(msg)
    toolbox = Toolbox(handler, handlers)

    async def handle(payload: Any, ctx: AgentContext) -> Reply[Any] | None:
        history, telling = History(ctx.state), Telling(agent.notices, ctx)
        if history.system is None:
            now = ctx.now().isoformat(timespec="seconds")
            history.begin(system_prompt(handler, handlers, budget=telling.limits(), now=now, labels=ctx.labels))
        turns = _Turns(agent, toolbox, history, ctx, telling)
        if isinstance(payload, BudgetExhausted):
            return await turns.last_word(payload)
        history.add({"role": "user", "content": incoming(telling.payload(payload), ctx.sender)})
        return await turns.run()

    return handle


def ready(handler: HandlerSettings, handlers: Mapping[str, HandlerSettings]) -> HandlerSettings:
    """A handler with the function that is called for it: its own, or the agents' loop."""
    return handler if handler.agent is None else evolve(handler, code=agent_handler(handler, handlers))


class _Turns:
    """The turns of one delivery."""

    def __init__(
        self, agent: AgentSettings, toolbox: Toolbox, history: History, ctx: AgentContext, telling: Telling
    ) -> None:
        self._agent = agent
        self._toolbox = toolbox
        self._history = history
        self._ctx = ctx
        self._telling = telling
        self._attempt = 0

    async def run(self) -> Reply[Any] | None:
        """Turns until the model replies; the last one that it may take offers the reply tool alone, and so does every one after
        its thread has run out: nothing can be called any more.
        """
        for turn in range(1, self._agent.max_turns + 1):
            last = turn == self._agent.max_turns or self._ctx.ran_out
            tools = self._toolbox.reply_only if last else self._toolbox.offered(may_ask=self._may_ask)
            choice = self._toolbox.reply_choice if last or len(tools) == len(self._toolbox.reply_only) else "auto"
            unheard = self._ctx.unheard()
            prompt = self._history.prompt(*self._telling.warnings(unheard))
            try:
                completion = await self._ctx.call_model(self._call(prompt, tools, choice), tells=unheard)
            except BudgetExhaustedError as error:
                if not self._ctx.has_grace:
                    raise
                return await self.last_word(self._ctx.exhaustion(error), error)
            reply = await self._take(completion, tools)
            if reply is not None:
                return reply
        raise HandlerFailedError("no_reply", f"'{self._ctx.name}' did not reply within {self._agent.max_turns} turns")

    @property
    def _may_ask(self) -> bool:
        """Whether it is offered to ask for more: not where it is to know of no budget."""
        return self._ctx.may_ask and self._agent.notices.deliver

    def _call(self, prompt: Sequence[Mapping[str, Any]], tools: Sequence[ToolSpec], choice: str) -> Call:
        agent = self._agent
        return Call(
            messages=tuple(prompt),
            model=agent.model,
            wish=agent.max_output_tokens,
            min_output_tokens=agent.min_output_tokens,
            temperature=agent.temperature,
            seed=agent.seed,
            reasoning_effort=agent.reasoning_effort,
            tools=tools,
            tool_choice=choice,
        )

    async def _take(self, completion: Completion, tools: Sequence[ToolSpec]) -> Reply[Any] | None:
        """Carries out what a turn asks for; the reply, if it is one."""
        self._history.add(completion.message)
        if not completion.tool_calls:
            text = as_reply(completion.text, self._agent.replies)
            if text is None:
                self._correct("answer by calling the reply tool; text alone is seen by nobody")
            return None if text is None else Reply(text)
        read = [self._toolbox.read(call, offered=tools) for call in completion.tool_calls]
        answers = await self._ask_peers(read)
        reply: Reply[Any] | None = None
        for number, each in enumerate(read):
            if isinstance(each, Mistaken):
                self._attempt += 1
                result: Any = InvalidPayload(each.error, self._attempt)
            elif each.peer is not None:
                result = answers[number]
            elif reply is None:
                reply = Reply(each.payload)
                result = None
            else:
                result = InvalidPayload("you have replied already in this turn", self._attempt)
            content = "Sent." if result is None else _json(result)
            self._history.add({"role": "tool", "tool_call_id": each.call.id, "content": content})
        if reply is None and all(isinstance(each, Mistaken) for each in read):
            self._check_patience()
        return reply

    def _correct(self, error: str) -> None:
        self._attempt += 1
        self._check_patience()
        self._history.add({"role": "user", "content": _json(InvalidPayload(error, self._attempt))})

    def _check_patience(self) -> None:
        if self._attempt > CORRECTIONS:
            text = f"'{self._ctx.name}' was corrected {CORRECTIONS} times and still makes no valid call or reply"
            raise HandlerFailedError("validation", text)

    async def _ask_peers(self, read: Sequence[Wanted | Mistaken]) -> dict[int, Any]:
        """The results of a turn's calls to peers, made concurrently: their replies, or how they failed.

        They are told apart by their place in the turn: a model may give two calls one id.
        """
        asks = {
            number: (each.peer, each.payload)
            for number, each in enumerate(read)
            if isinstance(each, Wanted) and each.peer is not None
        }
        answers = await self._ctx.ask_all(list(asks.values())) if asks else []
        return {number: self._telling.result(answer) for number, answer in zip(asks, answers, strict=True)}

    async def last_word(
        self, exhausted: BudgetExhausted, error: BudgetExhaustedError | None = None
    ) -> Reply[Any] | None:
        """The one answer on grace (R17): the prompt is cut to what fits, and nothing is offered but to reply."""
        completion = self._ctx.recalled_grace() or await self._last_answer(exhausted)
        if completion is None:
            if error is not None:
                raise error
            return None
        self._history.add(completion.message)
        for each in (self._toolbox.read(made, offered=self._toolbox.reply_only) for made in completion.tool_calls):
            if isinstance(each, Wanted):
                return Reply(each.payload)
        reply = as_reply(completion.text, self._agent.replies)
        if reply is None and error is not None:
            raise error
        return None if reply is None else Reply(reply)

    async def _last_answer(self, exhausted: BudgetExhausted) -> Completion | None:
        """What the model says on grace; ``None`` where that cannot be borne."""
        unheard = self._ctx.unheard()
        call = self._last_call(exhausted, self._telling.warnings(unheard))
        if call is None and unheard:
            # Where not all fits, the answer is worth more than the warning that it is the last.
            unheard = ()
            call = self._last_call(exhausted, ())
        if call is None:
            return None
        try:
            return await self._ctx.call_on_grace(call, tells=unheard)
        except BudgetExhaustedError:
            return None

    def _last_call(self, exhausted: BudgetExhausted, told: Sequence[Mapping[str, Any]]) -> Call | None:
        """System, first message, as much of the newest as fits, and the notices; ``None`` where not even that much fits."""
        notice = self._telling.last_call(exhausted)
        system, *_ = self._history.prompt()
        # Models want to be asked something: a delivery that was cancelled has left nothing that it could be.
        first = self._history.messages[:1] or (() if notice else ({"role": "user", "content": "Answer now."},))

        def call_with(newest: Sequence[Mapping[str, Any]], *, answer: float = FOR_THE_ANSWER) -> Call | None:
            prompt = (system, *first, *newest, *told, *notice)
            call = self._call(prompt, self._toolbox.reply_only, self._toolbox.reply_choice)
            return call if self._ctx.fits_grace(call, answer=answer) else None

        found = call_with((), answer=0.0)
        kept: list[Mapping[str, Any]] = []
        for group in reversed(self._history.groups()) if found is not None else ():
            for version in shortened(group):
                longer = call_with([*version, *kept])
                if longer is not None:
                    found, kept = longer, [*version, *kept]
                    break
        return found


def _json(payload: Any) -> str:
    """A payload as models read it in results."""
    return json.dumps(encode_json(payload), ensure_ascii=False)
