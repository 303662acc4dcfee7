"""The built-in model-driven handler: an agent that is declared, not programmed.

Read :mod:`loop` first (a delivery's turns), then ``tools`` (peers as tools), ``wording`` (prompts and notices), ``history`` (what it
remembers in its thread), and ``context`` (what it may do that other handlers may not).
"""

from organism.agent.context import AgentContext
from organism.agent.history import recap
from organism.agent.loop import ready

__all__ = ["AgentContext", "ready", "recap"]
