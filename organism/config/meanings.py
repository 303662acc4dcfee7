"""What the keys of organism.yaml mean, for the schema that editors read: by section and key the default and a sentence, in Markdown.

The reference, docs/reference/configuration.md, has the same words with links in them (a test compares the two); what it tells
in the cell of a whole section stands here by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.config.mcp import MEANS as MCP

if TYPE_CHECKING:
    from collections.abc import Mapping

MEANINGS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "top": {
        "organism": ("", "its name: lower-case letters, digits, `-`"),
        "runtime": (
            "trio",
            (
                "the event loop of commands and of `run_sync`: `trio` or `asyncio`. In your own program the organism "
                "uses the one that runs"
            ),
        ),
        "defaults": (
            "",
            (
                "keys of handlers, for all handlers; under `agent`, keys of agents except `accepts` and `replies`, for all"
                " agents. A handler's own keys take precedence, key by key"
            ),
        ),
        "budget": ("", "the limits of every root thread"),
        "conversation": ("no limits", "the limits of every lasting conversation, over all its turns"),
        "ceiling": ("no limits", "the limits of the whole organism, over a window of time"),
        "accounts": ("", "limits that the threads of one tenant or team share, by kind or name"),
        "models": ("simulated", "aliases, and the models behind them"),
        "handlers": ("", "the handlers, by name"),
        "mcp": ("", "MCP servers whose tools agents may use, by name"),
        "dead_letters": ("null", "the handler that is told of messages that failed for good: it takes `DeadLetter`"),
        "hooks": ("{}", "functions by the point at which they are called: `module:name`, or a list"),
        "loops": ("null", "how many equal messages cause a warning, and then stop their thread; `null`: never"),
        "scheduling": (
            "breadth-first",
            (
                "`breadth-first`: threads take turns; `depth-first`: the thread that ran last continues, for 64 "
                "messages if others wait"
            ),
        ),
        "max_handlers": (
            "1000",
            "the most deliveries that run concurrently, and the most worker threads for plain `def` handlers",
        ),
        "watchdog": (
            "1",
            (
                "seconds that a handler may block the event loop before it is logged with its stack, a day (86400) "
                "at most; null: never"
            ),
        ),
        "queue": ("10000", "how many messages may wait before senders from outside have to"),
        "on_full": ("wait", "what happens to senders from outside then: `wait`, or `refuse` with an error"),
        "thread_queue": (
            "10000",
            (
                "how many messages of one thread and all its sub-threads may wait or be handled at any moment; more "
                "are an error of that thread"
            ),
        ),
        "journal": (
            "memory:",
            (
                "where facts are kept: `memory:`, `sqlite:PATH` (one file) or `jsonl:DIR` (one file for every root "
                "thread). The last folder of the path is created if it is missing"
            ),
        ),
        "durability": (
            "full",
            (
                "`full`: on disk before anything takes effect; `normal`: a crash of the process loses nothing, a "
                "power cut may lose the last writes"
            ),
        ),
        "session_log": (
            "",
            "a folder for one file of JSON lines for every root thread, for people to read; best effort",
        ),
        "telemetry": (
            "false",
            "`true`: OpenTelemetry is told of threads, deliveries and model calls, as spans and metrics",
        ),
        "record": ("", "a file that keeps what models were asked and what they answered"),
        "start": (
            "",
            (
                "what `organism run` sends: a list of `{to: HANDLER, payload: ...}`, the payload as JSON, XML or plain "
                "text"
            ),
        ),
    },
    "budget": {
        "tokens": ("no limit", "input and output"),
        "input_tokens": ("no limit", "input, including cached input"),
        "output_tokens": ("no limit", "output"),
        "cost_usd": ("no limit", "dollars, exact"),
        "model_calls": ("no limit", "model calls, however many attempts each takes"),
        "messages": ("300", "deliveries to handlers; no limit in a handler's own budget"),
        "seconds": ("no limit", "the thread's own running time, without pauses and waits for people"),
        "depth": ("50", "how deeply calls are nested; no limit in a handler's own budget"),
        "warn_at": (
            "[0.75, 0.9, 0.95]",
            (
                "the levels of warnings: below 1 a share of the working limit, from 1 on a figure; or a list for each "
                "unit. The first is `warning`, the last `final`, those between `critical`. `[]`: none, so that only "
                "`runway` warns"
            ),
        ),
        "runway": ("2", "also warn when less is left than this many calls like the last one need; 0: off"),
        "grace": ("", "what is kept back: `{model_calls: 1, share: 0.1, tokens: 2000}`"),
        "accounting": ("estimate", "`strict` holds an upper bound for each call"),
        "on_unpriced": (
            "refuse",
            (
                "`refuse`: the organism does not start if cost is limited and a price is unknown; `ignore`: calls "
                "without a price do not count in dollars"
            ),
        ),
        "notify": ("[agent]", "who is warned: `agent`, and `caller` for the handler's caller too"),
        "grants_by": (
            "nobody",
            (
                "the handler that decides on requests for more: it takes a `BudgetRequest` and replies with a "
                "`BudgetDecision`; `null`: they are refused"
            ),
        ),
        "grants_up_to": (
            "no such bound",
            (
                "the most that may be granted in total to a thread and those below it, by unit (`{tokens: 20000}`); "
                "nothing of units that it does not name"
            ),
        ),
    },
    "ceiling": {
        "window": ("run", "the time over which they count: `run`, `hour`, `day`, `month` or `total`"),
    },
    "accounts": {
        "window": ("run", "the time over which they count, as for the ceiling"),
    },
    "conversation": {
        "on_cap": ("end", "`end`: at its limit of `messages` a conversation ends; `rotate`: it goes on in a fresh one"),
    },
    "loops": {
        "repeats": (
            "4",
            "this many equal messages over the same route cause a warning, the next one stops the thread; at least 2",
        ),
        "within": ("12", "how many of the thread's last messages are looked at; at least `repeats`, at most 10000"),
    },
    "models": {
        "strategy": (
            "failover",
            (
                "which backend of the same priority comes first: with `failover` the first in the list, with "
                "`round-robin` the next one each time, with `least-loaded` the one with the fewest calls in relation "
                "to its `max_concurrent`. When it fails, the others follow"
            ),
        ),
        "retries": ("3", "how many further attempts one call may make, over all backends"),
        "backoff": ("[0.5, 30]", "the first and the longest wait between attempts, in seconds"),
        "max_output_tokens": ("4096", "the output that a call asks for if neither it nor its agent says otherwise"),
        "downgrade": (
            "none",
            (
                "`{at: critical, to: small}`: from that level of its budget on (`warning`, `critical` or `final`) a "
                "thread's calls go to the other alias"
            ),
        ),
        "backends": ("", "a list, at least one"),
    },
    "mcp": MCP,
    "backends": {
        "provider": ("", "`simulated`, `openai`, `anthropic`, `recorded`, or `package.module:factory`, your own"),
        "model": ("", "the provider's name of the model"),
        "base_url": ("the provider's", "any server with the provider's protocol; without a key in it"),
        "api_key_env": ("the provider's", "the environment variable with the key; `null`: none"),
        "api_key_file": ("", "a file with the key instead; it is read again when the key is refused"),
        "priority": ("1", "the lowest is tried first"),
        "requests_per_minute": ("no limit", "how many calls it may get; others wait, first come, first served"),
        "tokens_per_minute": (
            "no limit",
            "the same in tokens, input and output; until a call has ended, the most that it may use is counted",
        ),
        "max_concurrent": (
            "20",
            "concurrent calls, each on a connection that is reused. A stream keeps its place until its block is left",
        ),
        "timeout": ("120", "seconds for one attempt"),
        "overhead": ("16", "tokens that the provider adds to each request"),
        "context_window": (
            "looked up",
            (
                "tokens of prompt and answer together that the model takes; needed for models that the built-in list "
                "does not know"
            ),
        ),
        "prompt_cache": (
            "true",
            (
                "for `anthropic`: the system prompt and the tools are marked to be cached by the provider. Others cache "
                "prompts by themselves"
            ),
        ),
        "price": (
            "looked up",
            (
                "dollars per million tokens: `{input: 3, output: 15, cache_read: 0.3, cache_write: 3.75}`. By "
                "default, cache reads and writes cost what input costs, and `reasoning` what output costs"
            ),
        ),
        "options": (
            "",
            (
                "passed to the provider; for `simulated`: `seed`, `verbosity`, `obedience`, `latency`, `token_latency`, "
                "`context_window`; for `recorded`: `file` (= that of `record`), `on_missing` (= `error`; or `fallthrough`)"
            ),
        ),
    },
    "handlers": {
        "code": (
            "",
            "`module:function`, an `async def` of a payload and a context; a plain `def` runs in a worker thread",
        ),
        "agent": ("", "a model-driven handler; see agent"),
        "human": (
            "",
            (
                "a person: `{accepts: module:Class, replies: module:Class}`, one class each or a list. A handler is one of"
                " `code`, `agent` and `human`"
            ),
        ),
        "description": ("the docstring", "what agents read about it; required, unless the code has a docstring"),
        "peers": (
            "[]",
            (
                "whom it may address, besides itself and `organism`. An agent that names `organism` may ask it what "
                "is left, and forecast"
            ),
        ),
        "timeout": (
            "30 for code",
            "seconds of its own running time; for a person, seconds until the answer must come; `null`: none",
        ),
        "concurrency": ("no limit", "how many threads and sub-threads it serves concurrently"),
        "budget": (
            "",
            (
                "calls to it by other handlers run in a sub-thread with these limits; messages from outside have the "
                "`budget` of the file"
            ),
        ),
        "per": ("call", "one sub-thread for each `call`, or one for all calls from a `thread`"),
        "on_failure": (
            "`{do: reply, attempts: 1, within: 60, backoff: [0.1, 5], retry_on: [crashed, timeout]}`",
            (
                "what happens when it fails to handle a message. `attempts`: how many in all; `within`: seconds "
                "after the first in which each may begin; `backoff`: the first and the longest wait between them, in "
                "seconds; `retry_on`: the failures that are tried again (`crashed`, `timeout`, `validation`, "
                "`routing`, `no_reply`); `do`, after the last attempt: `reply` (the caller hears it), `stop` (the "
                "thread stops) or `escalate` (the organism stops)"
            ),
        ),
        "options": ("", "given to the code as `ctx.options`"),
        "effects": (
            "world for code",
            (
                "`world`: it may use files, networks and anything else; `context`: it acts through its context only, "
                "as agents do, and so need not wait until its message is on disk"
            ),
        ),
    },
    "agent": {
        "accepts": ("", "`module:Class`, or a list of them; `organism:Text` is plain text"),
        "replies": ("", "`module:Class`, or a list of them"),
        "model": ("default", "an alias"),
        "prompt": (
            "a short standard text",
            (
                "Jinja2, inline or a file (`.md`, `.txt`, `.j2`), with `name`, `description`, `peers`, `accepts`, "
                "`replies`, `budget`, `now`, `labels`, `notices` (whether it is told of its budget), `peers_as`, "
                "`agents_md` (AGENTS.md beside the file). See write prompts"
            ),
        ),
        "peers_as": ("tools", "`tools`: peers are tools of the model; `xml`: the model writes XML in its text"),
        "tools": (
            "[]",
            (
                "functions that its model may call: `module:function`, with typed parameters and a docstring; an "
                "`async def`, or a plain `def`, which runs in a worker thread. Tools of an MCP server: `mcp:SERVER` for all, "
                "`mcp:SERVER/TOOL` for one"
            ),
        ),
        "tool_calls": (
            "no limit",
            (
                "how often a tool may be called in a thread: `{default: 10, search: 3}`; peers are tools too; "
                "`null`: no limit"
            ),
        ),
        "tool_output": (
            "`{max_bytes: 16384, per_tool: {}}`",
            "how many bytes of a result the model reads; for single tools: `per_tool: {search: 4096}`",
        ),
        "max_turns": ("20", "the most model turns of one delivery"),
        "max_output_tokens": (
            "the model's",
            (
                "the output that a call asks for; lowered when little is left. A text that is cut for length is "
                "continued, at most twice, each time with a further call; if a tool call is cut, the model is asked "
                "to write it again, shorter"
            ),
        ),
        "min_output_tokens": ("64", "below this a call waits or is refused"),
        "temperature": ("the provider's", "passed to the provider; at 0 answers vary least"),
        "seed": (
            "none",
            (
                "passed to the provider, if that takes one: the same prompt then gets the same answer, as far as the "
                "provider can"
            ),
        ),
        "reasoning_effort": (
            "the provider's",
            (
                "how much the model thinks before it answers, in the provider's words, as `low`, `medium` or `high`; for "
                "`anthropic` a share of the output"
            ),
        ),
        "compaction": ("`{at: 0.6, hard_limit: 0.9, keep_turns: 2}`", "how its history is cut short; `null`: never"),
        "prune": ("`{protect_turns: 3, min_tokens: 4096}`", "which old results are left out of prompts; `null`: none"),
        "notices": ("standard texts", "what it is told about its budget"),
    },
    "compaction": {
        "at": ("0.6", "share of the model's window beyond which older turns are replaced, if that frees enough"),
        "hard_limit": ("0.9", "share beyond which they must be"),
        "keep_turns": ("2", "the number of last turns, which stay as they are"),
        "model": ("none", "the alias that sums up what is replaced; `null`: extracts take its place"),
        "prompt": (
            "a standard text",
            "what that model is told: Jinja2, inline or a file, with `name`, `description`, `messages`, `tokens`",
        ),
    },
    "prune": {
        "protect_turns": ("3", "the number of last turns, whose results are always sent"),
        "min_tokens": (
            "4096",
            "older results are left out when that saves this many tokens; four characters count as one",
        ),
    },
    "notices": {
        "deliver": ("true", "`false`: it is told nothing about budgets, which are still enforced"),
        "figures": ("true", "`true`, `none` (words without a figure) or `placebo` (figures that say nothing)"),
        "warning": (
            "a standard text",
            (
                "the wording of a warning: Jinja2, inline or a file, with `unit`, `level`, `threshold`, `used`, `held`, "
                "`limit`, `remaining`, `calls_left`, `scope`, `text`"
            ),
        ),
        "exhausted": (
            "a standard text",
            (
                "the wording for a call to a peer that a limit refused; with `unit`, `used`, `limit`, `scope`, `grace`, "
                "`text`"
            ),
        ),
        "grace": ("that of `exhausted`", "the wording for the last call; with the same names"),
    },
    "defaults": {
        "agent": ("", "keys of agents except `accepts` and `replies`, for all agents"),
    },
    "human": {
        "accepts": ("", "`module:Class`, or a list of them: what the person is asked; `organism:Text` is plain text"),
        "replies": ("", "`module:Class`, or a list of them: what the person answers with"),
    },
    "grace": {
        "model_calls": ("1", "model calls that are kept back of a limit of calls, unless that is 1"),
        "share": ("0.1", "the share of a limit of tokens or dollars that is kept back, below 1"),
        "tokens": ("2000", "no more than that is kept back of a limit of tokens"),
    },
    "price": {
        "input": ("", "dollars per million tokens of input"),
        "output": ("", "dollars per million tokens of output"),
        "cache_read": ("that of input", "dollars per million tokens that are read from a cache"),
        "cache_write": ("that of input", "dollars per million tokens that are written to a cache"),
        "reasoning": ("that of output", "dollars per million tokens of reasoning"),
    },
    "downgrade": {
        "at": ("", "the level of its budget from which on a thread's calls go to the other alias"),
        "to": ("", "that alias"),
    },
    "on_failure": {
        "do": (
            "reply",
            (
                "what happens after the last attempt: `reply`: the caller hears it; `stop`: the thread stops; `escalate`: "
                "the organism stops"
            ),
        ),
        "attempts": ("1", "how many attempts there are in all"),
        "within": ("60", "seconds after the first attempt in which each may begin"),
        "backoff": ("[0.1, 5]", "the first and the longest wait between attempts, in seconds"),
        "retry_on": ("[crashed, timeout]", "the failures that are tried again"),
    },
    "tool_output": {
        "max_bytes": ("16384", "how many bytes of a result the model reads"),
        "per_tool": ("{}", "the same for single tools, by name"),
    },
    "start": {
        "to": ("", "the handler that the message is sent to"),
        "payload": (
            "",
            (
                "JSON as a mapping, `{Question: {text: What is it?}}`; XML, or plain text where the payload has one "
                "required text, as a text"
            ),
        ),
    },
    "hooks": {
        "on_message": ("", "before a handler is called: sees the message, may change, hold up or refuse it"),
        "before_model_call": ("", "before a model is asked, by code or by an agent"),
        "after_model_call": ("", "after a model has answered, once that is paid for"),
        "before_tool": ("", "before a peer or a function gets what an agent's model asks of it"),
        "after_tool": ("", "before an agent's model reads a result"),
        "on_turn_end": ("", "when all that an agent asked for in a turn is done"),
        "on_abort": ("", "when a handler has raised, or was cancelled"),
    },
}
"""A key that several sections share is told once: a section names those whose keys it has (``Record.named``)."""
