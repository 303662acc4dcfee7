"""Whether a value may be sent at all, whoever it goes to. What was sent before and is plain is remembered, so that most values need one check.

Plain is a value of a class that any handler may send, that holds no other payloads and whose name no other class of the organism has.
"""

from __future__ import annotations

from types import CoroutineType
from typing import TYPE_CHECKING, Final

from organism.names import class_name
from organism.payloads import flaw, is_payload
from organism.payloads.primitives import ORGANISM_ONLY
from organism.payloads.soundness import check_alone

if TYPE_CHECKING:
    from organism.kernel.state import State
    from organism.threads.routing import Route

_KINDS: Final = 1000
"""How many payload classes are remembered as plain. A handler may make any number of classes."""


def wrong_to_send(state: State, payload: object) -> str | None:
    """Why a handler may not send this value; ``None`` where it may."""
    if is_plain(state, payload):
        return None
    wrong = _wrong(payload)
    if wrong is None and state.routes.stands_in_for(type(payload)) is None:
        _remember(state, type(payload))
    return wrong


def wrong_to_reply(state: State, payload: object) -> str | None:
    """Why a handler may not reply this value; ``None`` where it may. As :func:`wrong_to_send`, and no class may have the name of another of the
    organism's: an asker takes any class, and agents and people know classes by their names.
    """
    if is_plain(state, payload):
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
    if kind is CoroutineType:
        return f"{class_name(payload)} is not a payload; write 'await' before what gives it (in a plain 'def', ctx.run(...) around it)"
    if not is_payload(kind):
        own = kind.__module__ != "builtins"
        return f"{class_name(payload)} is not a payload; {'declare its class' if own else 'send a value of a class that is declared'} with @payload"
    return f"only the organism itself sends {kind.__name__}"


def known_route(state: State, sender: str, to: object, payload: object) -> Route | None:
    """The route of ``to``, where ``sender`` (empty: the outside) has sent it this class before and may send it this value; ``None``: it
    needs the full check.
    """
    try:
        met = state.met.get((sender, to, type(payload))) if type(to) is str else None
        if met is None:
            return None
        found, check = met
        check(payload)
    except Exception:  # noqa: BLE001 - as below
        return None
    return found


def is_plain(state: State, payload: object) -> bool:
    """Whether a value is plain, as most are, and sound. ``False``: it needs the full check."""
    try:
        check = state.plain.get(type(payload))
        if check is None:
            return False
        check(payload)
    except Exception:  # noqa: BLE001 - a value that is not whole may raise anything when it is read, and so may its class
        return False
    return True


def _remember(state: State, kind: type) -> None:
    """Remembers a class as plain, where it is."""
    check = check_alone(kind)
    if check is not None and len(state.plain) < _KINDS:
        state.plain[kind] = check


def remember_route(state: State, sender: str, receiver: Route, payload: object) -> None:
    """Remembers that ``sender`` (empty: the outside) may send values of this class there, where they are plain."""
    check = state.plain.get(type(payload))
    if check is not None:
        state.met[sender, receiver.name, type(payload)] = (receiver, check)
