"""What an organism was told to be: frozen values, already checked. Nothing here parses or reads anything.

``config`` makes these from organism.yaml, from ``--set`` and from keyword arguments; everybody else only reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from attrs import evolve, field, fields, frozen

from organism.agentsettings import Compaction, Notices, Prune, ToolCalls, ToolOutput
from organism.mcpsettings import McpServer, McpTools

SPENT_UNITS: Final = ("tokens", "input_tokens", "output_tokens", "cost_usd", "model_calls", "messages")
"""Units that are held, settled and summed to the parents."""
UNITS: Final = (*SPENT_UNITS, "seconds", "depth")

Accounting = Literal["estimate", "strict"]
OnUnpriced = Literal["refuse", "ignore"]
Level = Literal["warning", "critical", "final"]
"""The levels of a limit, ascending."""
Strategy = Literal["failover", "round-robin", "least-loaded"]
WindowKind = Literal["run", "hour", "day", "month", "total"]
DEFAULT_LEVELS: Final = (Decimal("0.75"), Decimal("0.9"), Decimal("0.95"))
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
PROVIDERS: Final[Mapping[str, str | None]] = MappingProxyType(
    {"simulated": None, "openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY", "recorded": None}
)
"""The built-in providers, each with the environment variable that its key usually stands in."""


def _names(options: Mapping[str, Any]) -> str:
    """What options say of themselves: their names. Their values may be secrets."""
    return f"{{{', '.join(f'{name!r}: ...' for name in options)}}}"


@frozen(kw_only=True)
class Limits:
    """What a node may spend at most, per unit; ``None`` is no limit. ``cost_usd`` in USD, ``seconds`` in seconds."""

    tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    model_calls: int | None = None
    messages: int | None = None
    seconds: float | None = None
    depth: int | None = None


@frozen(kw_only=True)
class Grace:
    """What is kept back of a limit for a last answer: ``min(share x limit, tokens)`` of token units, ``share x limit`` of
    ``cost_usd``, the number ``model_calls`` of that unit (0 if the limit is 1), and nothing of other units.
    """

    model_calls: int = 1
    share: Decimal = Decimal("0.1")
    tokens: int = 2000


@frozen(kw_only=True)
class Policy:
    """How a node warns and refuses. A share below 1 in ``warn_at`` is of the working limit, from 1 on a figure.

    ``warn_at`` has an entry for every unit that warns; ``runway`` 0 is off.
    """

    warn_at: Mapping[str, tuple[Decimal, ...]] = field(
        factory=lambda: MappingProxyType({u: DEFAULT_LEVELS for u in UNITS if u != "depth"})
    )
    runway: Decimal = Decimal(2)
    grace: Grace = field(factory=Grace)
    accounting: Accounting = "estimate"
    on_unpriced: OnUnpriced = "refuse"
    notify: tuple[Literal["agent", "caller"], ...] = ("agent",)
    grants_by: str = ""
    """The handler that decides on requests for more; empty: they are refused."""
    grants_up_to: Mapping[str, Decimal] | None = None
    """What a root thread with all below it may be granted in all, by unit, and nothing of others; ``None``: no such bound."""


_NOTHING_SAID: Final = (None,) * 7


@frozen(kw_only=True)
class BudgetSettings:
    """Limits, and the policy as far as it is set here: fields of it that are ``None``, and units that ``warn_at`` does not have, are as
    in the node above.
    """

    limits: Limits = field(factory=Limits)
    warn_at: Mapping[str, tuple[Decimal, ...]] | None = None
    runway: Decimal | None = None
    grace: Grace | None = None
    accounting: Accounting | None = None
    on_unpriced: OnUnpriced | None = None
    notify: tuple[Literal["agent", "caller"], ...] | None = None
    grants_by: str | None = None
    """Empty: nobody decides, whoever does so above."""
    grants_up_to: Mapping[str, Decimal] | None = None

    def policy(self, above: Policy) -> Policy:
        """The policy of a node that has these settings below a node whose policy is ``above``: the same where nothing is said."""
        said = (self.warn_at, self.runway, self.grace, self.accounting, self.on_unpriced, self.notify, self.grants_by)
        if self.grants_up_to is None and said == _NOTHING_SAID:
            return above
        return Policy(
            warn_at=MappingProxyType({**above.warn_at, **(self.warn_at or NOTHING)}),
            runway=above.runway if self.runway is None else self.runway,
            grace=above.grace if self.grace is None else self.grace,
            accounting=above.accounting if self.accounting is None else self.accounting,
            on_unpriced=above.on_unpriced if self.on_unpriced is None else self.on_unpriced,
            notify=above.notify if self.notify is None else self.notify,
            grants_by=above.grants_by if self.grants_by is None else self.grants_by,
            grants_up_to=above.grants_up_to if self.grants_up_to is None else self.grants_up_to,
        )


def laid_over(base: BudgetSettings, over: BudgetSettings, named: Collection[str]) -> BudgetSettings:
    """``base``, with what ``over`` names in its place; ``named`` are its keys, since a named ``None`` lifts a limit."""
    limits = {field.name: getattr(over.limits, field.name) for field in fields(Limits) if field.name in named}
    rest: dict[str, Any] = {
        field.name: value
        for field in fields(BudgetSettings)
        if field.name != "limits" and (value := getattr(over, field.name)) is not None
    }
    if base.warn_at is not None and over.warn_at is not None:
        rest["warn_at"] = {**base.warn_at, **over.warn_at}
    return evolve(base, limits=evolve(base.limits, **limits), **rest)


ROOT_LIMITS: Final = Limits(messages=300, depth=50)
"""The limits of a root thread whose budget names none."""


@frozen(kw_only=True)
class Quota:
    """Limits that many threads share, and the ``window`` over which they count: an hour, day or month of the calendar in UTC, all
    of the journal (``total``), or this process (``run``). The organism's ceiling is one, and each account has one; only the
    ceiling of a run has ``seconds`` and ``depth``.
    """

    limits: Limits = field(factory=Limits)
    window: WindowKind = "run"


@frozen(kw_only=True)
class ConversationSettings:
    """Every lasting conversation. ``budget`` counts over all its turns; ``on_cap`` is what happens at its limit of messages:
    it ends, or goes on in a fresh one.
    """

    budget: BudgetSettings = field(factory=BudgetSettings)
    on_cap: Literal["end", "rotate"] = "end"


@frozen(kw_only=True)
class Price:
    """USD per million tokens. ``cache_read`` and ``cache_write`` default to the price of input, ``reasoning`` to that of output."""

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None


@frozen(kw_only=True)
class Seller:
    """Who gave the answers that are in a recording, and what was known of the prices then. ``own``: a provider of the user's own."""

    provider: str
    at: datetime
    own: bool = False
    base_url: str | None = None
    price: Price | None = None
    service_tier: str | None = None


@frozen(kw_only=True)
class BackendSettings:
    """One backend of an alias. ``place`` is where it stands in the file, for messages.

    ``factory`` is what makes the provider: the loaded object of ``package.module:factory``, ``None`` for built-in ones.
    ``api_key_env`` is the provider's usual variable where the file says nothing of a key; ``None``: no variable is read.
    ``timeout`` in seconds, ``overhead`` in tokens; ``context_window`` is what prompt and answer may come to, in tokens, ``None``: what
    the bundled list says of the model. ``prompt_cache``: a provider that keeps prompts only where it is told to is
    told where they may end.
    """

    provider: str
    model: str
    factory: Any = None
    base_url: str | None = None
    api_key_env: str | None = None
    api_key_file: Path | None = None
    priority: int = 1
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int = 20
    timeout: float = 120.0
    overhead: int = 16
    context_window: int | None = None
    prompt_cache: bool = True
    price: Price | None = None
    options: Mapping[str, Any] = field(default=NOTHING, repr=_names)
    place: str = ""
    recording: Path | None = None
    """The file that provider ``recorded`` answers from."""
    seller: Seller | None = None
    """Whose prices provider ``recorded`` has; ``None`` where its file says nothing of the model."""

    @property
    def built_in(self) -> str | None:
        """The name of a built-in provider; ``None`` for one of the user's own, which may be called like one of those."""
        return self.provider if self.factory is None else None

    @property
    def name(self) -> str:
        """What it is called in facts: ``provider/model``, and its server behind that."""
        server = f"@{urlsplit(self.base_url).netloc or self.base_url}" if self.base_url else ""
        return f"{self.provider}/{self.model}{server}"


@frozen(kw_only=True)
class Downgrade:
    """From the level ``at`` on calls go to the alias ``to``."""

    at: Level
    to: str


@frozen(kw_only=True)
class ModelSettings:
    """An alias. ``backoff`` is (first, longest) in seconds; ``retries`` further attempts over all backends. ``strategy`` says in
    what order backends of the same priority are tried.
    """

    name: str
    backends: tuple[BackendSettings, ...]
    strategy: Strategy = "failover"
    downgrade: Downgrade | None = None
    retries: int = 3
    backoff: tuple[float, float] = (0.5, 30.0)
    max_output_tokens: int = 4096


def with_backends(
    models: Mapping[str, ModelSettings], change: Callable[[BackendSettings], BackendSettings]
) -> dict[str, ModelSettings]:
    """The aliases with each of their backends changed."""
    return {name: evolve(model, backends=tuple(map(change, model.backends))) for name, model in models.items()}


@frozen(kw_only=True)
class AgentSettings:
    """A model-driven handler. ``accepts`` and ``replies`` are payload classes; ``prompt`` is Jinja2 text or ``None``.

    ``tools`` are what its model may call: functions, and tools of MCP servers once these were asked; ``mcp`` are which of those it wants.
    """

    accepts: tuple[type, ...]
    replies: tuple[type, ...]
    model: str = "default"
    prompt: str | None = None
    peers_as: Literal["tools", "xml"] = "tools"
    """How its model addresses its peers: by calling tools, or by XML in its text."""
    agents_md: str = ""
    """What AGENTS.md says, beside organism.yaml; data, and no template."""
    max_turns: int = 20
    max_output_tokens: int | None = None
    min_output_tokens: int = 64
    temperature: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    tools: tuple[ToolSettings, ...] = ()
    mcp: tuple[McpTools, ...] = ()
    tool_calls: ToolCalls = field(factory=ToolCalls)
    tool_output: ToolOutput = field(factory=ToolOutput)
    notices: Notices = field(factory=Notices)
    compaction: Compaction | None = field(factory=Compaction)
    prune: Prune | None = field(factory=Prune)


@frozen(kw_only=True)
class HumanSettings:
    """A person as a handler. ``replies`` are the payload classes that they answer with."""

    replies: tuple[type, ...]


@frozen(kw_only=True)
class OnFailure:
    """What comes of a message whose handler failed (R9): ``attempts`` in all, those after the first only ``within`` seconds of it, after a
    wait of ``backoff`` (first, longest) seconds, where the failure's code is in ``retry_on``; after the last of them ``do``.
    """

    do: Literal["reply", "stop", "escalate"] = "reply"
    attempts: int = 1
    within: float = 60.0
    backoff: tuple[float, float] = (0.1, 5.0)
    retry_on: tuple[str, ...] = ("crashed", "timeout")


@frozen(kw_only=True)
class HandlerSettings:
    """One handler. Exactly one of ``code``, ``agent`` and ``human`` is set; ``code`` is the imported async function.

    ``accepts`` are the payload classes it takes (from the annotation, or the agent's or person's), ``timeout`` is in seconds of
    its own running; of a person in seconds since they were asked. ``budget`` makes calls to it run in a sub-thread, one a call or one a
    calling thread (``per``).
    ``effects``: whether it may touch the ``world`` itself, or does so through its ``context`` alone. ``replayed``: whether a replay runs it
    again; of others it takes what the record has.
    """

    name: str
    accepts: tuple[type, ...]
    description: str = ""
    code: Any = None
    agent: AgentSettings | None = None
    human: HumanSettings | None = None
    peers: tuple[str, ...] = ()
    timeout: float | None = None
    concurrency: int | None = None
    budget: BudgetSettings | None = None
    per: Literal["call", "thread"] = "call"
    options: Mapping[str, Any] = field(default=NOTHING, repr=_names)
    effects: Literal["world", "context"] = "world"
    on_failure: OnFailure = field(factory=OnFailure)
    replayed: bool = True

    @property
    def replies(self) -> tuple[type, ...] | None:
        """The payload classes that an agent or a person replies; ``None`` for code, of which only its annotation may tell."""
        declared = self.agent or self.human
        return None if declared is None else declared.replies


@frozen(kw_only=True)
class ToolSettings:
    """What an agent's model may call: a ``handler`` that this agent alone may address. ``parameters`` is the JSON schema of its arguments;
    ``read`` makes the payload of a call from them, a JSON value, and raises PayloadError for what does not fit.
    """

    handler: HandlerSettings
    parameters: Mapping[str, Any]
    read: Callable[[Any], Any]


@frozen(kw_only=True)
class StartMessage:
    """One entry of ``start:``: a payload (already decoded) for a handler."""

    to: str
    payload: Any


@frozen(kw_only=True)
class Loops:
    """When messages go round in circles: the ``repeats``-th equal one over the same route within the last ``within`` messages."""

    repeats: int = 4
    within: int = 12


@frozen(kw_only=True)
class Settings:
    """A whole organism."""

    name: str
    handlers: Mapping[str, HandlerSettings] = NOTHING
    models: Mapping[str, ModelSettings] = NOTHING
    mcp: Mapping[str, McpServer] = NOTHING
    budget: BudgetSettings = field(factory=lambda: BudgetSettings(limits=ROOT_LIMITS))
    conversation: ConversationSettings = field(factory=ConversationSettings)
    ceiling: Quota = field(factory=Quota)
    accounts: Mapping[str, Quota] = NOTHING
    """By ``kind:name``, or by ``kind`` for all of that kind that are not named."""
    runtime: Literal["trio", "asyncio"] = "trio"
    hooks: Mapping[str, tuple[Any, ...]] = NOTHING
    """Functions by the point at which they are asked (see :mod:`organism.hooks`)."""
    loops: Loops | None = None
    dead_letters: str | None = None
    """The handler that is told of messages that failed for good; ``None``: none is."""
    scheduling: Literal["breadth-first", "depth-first"] = "breadth-first"
    max_handlers: int = 1000
    watchdog: float | None = 1.0
    """Seconds that a handler may keep the event loop before it is named in the log; ``None``: nobody looks."""
    queue: int = 10000
    on_full: Literal["wait", "refuse"] = "wait"
    thread_queue: int = 10000
    """The messages of a root thread and of all below it that may wait or be handled at once; more are refused to their sender."""
    journal: str = "memory:"
    """``memory:``, ``sqlite:PATH`` or ``jsonl:DIR``, as it was written: a relative path is relative to ``folder``."""
    durability: Literal["full", "normal"] = "full"
    """``full``: on disk before anything leaves; ``normal``: a power cut may take the last of it."""
    session_log: Path | None = None
    """The folder of the session log; ``None``: there is none."""
    telemetry: bool = False
    """Whether OpenTelemetry is told of threads, deliveries and model calls."""
    record: Path | None = None
    """The file that keeps what models were asked and what they answered; ``None``: there is none."""
    start: tuple[StartMessage, ...] = ()
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    """What was assumed and should be said aloud, such as the simulated default model."""

    @property
    def everyone(self) -> Mapping[str, HandlerSettings]:
        """The handlers with the tools of the agents among them, which are handlers too, and nobody's peers."""
        agents = [each.agent for each in self.handlers.values() if each.agent is not None]
        return {**self.handlers, **{tool.handler.name: tool.handler for agent in agents for tool in agent.tools}}

    @property
    def limits_cost(self) -> bool:
        """Whether anything in it limits money, so that models need a price."""
        inner = [handler.budget for handler in self.handlers.values() if handler.budget]
        budgets = [self.budget, self.conversation.budget, *inner]
        limits = [
            *(each.limits for each in budgets),
            self.ceiling.limits,
            *(each.limits for each in self.accounts.values()),
        ]
        return any(each.cost_usd is not None for each in limits)
