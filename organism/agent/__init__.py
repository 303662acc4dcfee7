"""The built-in model-driven handler: an agent that is declared, not programmed.

Reading order:

* ``loop`` - a delivery's turns, from its message to its reply
* ``tools`` - what a model is offered, and what its calls mean; ``allowance``: how often it may call
* ``speech`` - how a model says what it wants: by tool calls; ``xml_speech``, ``elements`` and ``xml_reading``: in XML
* ``dispatch`` - carries that out; ``cutting``: how much of a result the model reads
* ``asking`` - a turn's model call; ``voice`` and ``partial``: the text of its reply, said on while it is written
* ``history`` - what it remembers in its thread
* ``compaction`` - how prompts stay within the model's window; ``window``, ``pruning``, ``summary`` and ``recaps`` help it
* ``wording`` and ``telling`` - what it reads: prompts, messages, and notices of its budget
* ``grace`` - its last answer
* ``context`` - what it may do that other handlers may not
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.late import late

if TYPE_CHECKING:
    from organism.agent.context import AgentContext
    from organism.agent.history import recap
    from organism.agent.loop import ready

__all__ = ["AgentContext", "ready", "recap"]

__getattr__ = late(
    __name__,
    {"AgentContext": "organism.agent.context", "ready": "organism.agent.loop", "recap": "organism.agent.history"},
)
# Loaded late: a recap is all that commands want which work on a journal, and they need no event loop.
