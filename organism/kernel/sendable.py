"""Whether a value may be sent at all, whoever it goes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from organism.names import class_name
from organism.payloads import flaw, is_payload
from organism.payloads.primitives import ORGANISM_ONLY
from organism.payloads.soundness import check_alone

if TYPE_CHECKING:
    from organism.kernel.state import State
    from organism.payloads.construction import Check

_KINDS: Final = 1000
"""Payload classes that are remembered as plain. A handler may make any number of classes."""


def wrong_to_send(state: State, payload: object) -> str | None:
    """Why a handler may not send this value; ``None`` where it may."""
    check = state.plain.get(type(payload))
    if check is not None and passes(payload, check):
        return None
    wrong = _wrong(payload)
    if wrong is None and state.routes.stands_in_for(type(payload)) is None:
        _remember(state, type(payload))
    return wrong


def wrong_to_reply(state: State, payload: object) -> str | None:
    """Why a handler may not reply this value; whoever it goes to may take any class, and knows them by their names."""
    check = state.plain.get(type(payload))
    if check is not None and passes(payload, check):
        return None
    wrong = _wrong(payload)
    if wrong is not None:
        return wrong
    other = state.routes.stands_in_for(type(payload))
    if other is None:
        _remember(state, type(payload))
        return None
    return f"{other.__name__} is a payload of this organism, and another class than the {other.__name__} of this reply"


def _wrong(payload: object) -> str | None:
    kind = type(payload)
    if is_payload(kind) and kind not in ORGANISM_ONLY:
        wrong = flaw(payload)
        return None if wrong is None else f"{wrong}; make a new value of {kind.__name__}"
    if isinstance(payload, type):
        return f"{payload.__name__} is a class; send a value of it"
    if not is_payload(kind):
        return f"{class_name(payload)} is no payload; declare its class with @payload"
    return f"only the organism itself sends {kind.__name__}"


def passes(payload: object, check: Check) -> bool:
    """Whether a value is a whole one by the check of its class. Where not, there is more to look at."""
    try:
        check(payload)
    except Exception:  # noqa: BLE001 - what is no whole value may raise anything when it is looked at
        return False
    return True


def _remember(state: State, kind: type) -> None:
    """Values of this class may be sent, and it stands in for no other one: the next ones need less."""
    check = check_alone(kind)
    if check is not None and len(state.plain) < _KINDS:
        state.plain[kind] = check


__all__ = ["passes", "wrong_to_reply", "wrong_to_send"]
