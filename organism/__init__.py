"""organism: an actor-model message pump for swarms of LLM agents, with budgets that cannot be overrun.

The rooms, in the order to read them:

* ``errors``, ``names``, ``durations``, ``likeness`` - everything that is raised; names, spans of time, and secrets that are known by their looks
* ``payloads``, ``primitives`` - what can be sent: classes with an XSD, an XML codec, JSON; what the organism itself says
* ``settings``, ``agentsettings``, ``mcpsettings``, ``message``, ``usage`` - the checked configuration of an organism; what a handler returns; what
  was spent
* ``budget`` - hold on the whole path to the root, settle what a call cost, warn
* ``threads`` - who called whom, who may, whose turn it is
* ``record``, ``kernel`` - what has happened, and the pure core that decides what follows; ``facts``, ``results``: what programs see of that
* ``journal`` - where the record is kept
* ``models`` - the router, and one file a provider
* ``pump``, ``context`` - awaiting handlers; what a handler sees; ``hooks``, ``points``: functions at fixed points of that
* ``agent`` - the built-in model-driven handler
* ``config``, ``loader``, ``functions`` - organism.yaml to settings; what makes a function a tool
* ``replay`` - a record run again, or continued differently
* ``mcp``, ``telemetry`` - tools of servers of the Model Context Protocol; spans and metrics of OpenTelemetry
* ``works``, ``organism`` - the parts of a running organism: ingress, resuming, events, control; the composition root
* ``testing``, ``server``, ``lab``, ``cli`` - for tests of organisms; the simulated model over HTTP; studies; the command line
* ``late``, ``quick``, ``generated``, ``signatures``, ``files`` - how packages load late, how classes are made that come and go with every message,
  what functions take, and whether something stands at a path

docs/explanation/how-a-message-travels.md leads through them along one message.
``R12`` and the like, in comments, are rules of docs/reference/rules.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.context.interface import Context
    from organism.errors import (
        BudgetExhaustedError,
        ConfigurationError,
        EscalatedError,
        HandlerFailedError,
        InvalidPayloadError,
        ModelError,
        NoQuestionError,
        NotRunningError,
        OrganismError,
        Refused,
        UnexpectedReplyError,
    )
    from organism.message import Forward, Outgoing, Reply, Send
    from organism.models.completion import Completion
    from organism.organism import Organism
    from organism.payloads import payload
    from organism.payloads.plain import Text
    from organism.pump.accounts import AccountHandle
    from organism.pump.handles import ConversationHandle, ThreadHandle
    from organism.results import DeadMessage, Difference, Event, Question, Replayed, Statistics, ThreadResult
    from organism.usage import Usage

__version__ = "0.1.0"

__all__ = [
    "AccountHandle",
    "BudgetExhaustedError",
    "Completion",
    "ConfigurationError",
    "Context",
    "ConversationHandle",
    "DeadMessage",
    "Difference",
    "EscalatedError",
    "Event",
    "Forward",
    "HandlerFailedError",
    "InvalidPayloadError",
    "ModelError",
    "NoQuestionError",
    "NotRunningError",
    "Organism",
    "OrganismError",
    "Outgoing",
    "Question",
    "Refused",
    "Replayed",
    "Reply",
    "Send",
    "Statistics",
    "Text",
    "ThreadHandle",
    "ThreadResult",
    "UnexpectedReplyError",
    "Usage",
    "payload",
]

__getattr__ = late(
    __name__,
    {
        "AccountHandle": "organism.pump.accounts",
        "BudgetExhaustedError": "organism.errors",
        "Completion": "organism.models.completion",
        "ConfigurationError": "organism.errors",
        "Context": "organism.context.interface",
        "ConversationHandle": "organism.pump.handles",
        "DeadMessage": "organism.results",
        "Difference": "organism.results",
        "EscalatedError": "organism.errors",
        "Event": "organism.results",
        "Forward": "organism.message",
        "HandlerFailedError": "organism.errors",
        "InvalidPayloadError": "organism.errors",
        "ModelError": "organism.errors",
        "NoQuestionError": "organism.errors",
        "NotRunningError": "organism.errors",
        "Organism": "organism.organism",
        "OrganismError": "organism.errors",
        "Outgoing": "organism.message",
        "Question": "organism.results",
        "Refused": "organism.errors",
        "Replayed": "organism.results",
        "Reply": "organism.message",
        "Send": "organism.message",
        "Statistics": "organism.results",
        "Text": "organism.payloads.plain",
        "ThreadHandle": "organism.pump.handles",
        "ThreadResult": "organism.results",
        "UnexpectedReplyError": "organism.errors",
        "Usage": "organism.usage",
        "payload": "organism.payloads",
    },
)
# Loaded when first used, since it needs an event loop or SDKs: modules that only declare payloads and handlers import fast. And the
# command line loads next to nothing before its first line, which makes sure that Ctrl-C is no crash.
