"""What is known of a handler before it is known whether all of it is right: others are checked against that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen

from organism.config.sections import Section
from organism.loader import replies_of
from organism.settings import HandlerSettings


@frozen
class Draft:
    """A handler as far as it could be read. ``accepts`` is ``None`` where it is not known whole."""

    name: str
    section: Section
    accepts: tuple[type, ...] | None
    code: Callable[..., Any] | None
    settings: HandlerSettings | None
    """``None`` only after a mistake was noted; what was wrong is left out."""

    @property
    def agent(self) -> Section | None:
        """What is said of an agent."""
        agent: Section | None = self.section.values.get("agent")
        return agent

    @property
    def peers(self) -> tuple[str, ...]:
        """Whom it may address, as far as is known."""
        peers: tuple[str, ...] = self.section.values.get("peers", ())
        return peers

    @property
    def replies(self) -> tuple[type, ...] | None:
        """The payload classes that it replies; ``None`` where that is not known, or not whole."""
        said: Section | None = self.agent or self.section.values.get("human")
        if said is None:
            return None if self.code is None else replies_of(self.code)
        return classes_of(said, "replies")


def classes_of(section: Section, key: str) -> tuple[type, ...] | None:
    """The payload classes under a key; ``None`` where one of them is wrong, or there are none."""
    classes: tuple[type, ...] = section.values.get(key, ())
    return classes if classes and section.whole(key) else None
