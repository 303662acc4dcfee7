"""What a handler has returned, as a tuple of answers for the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from organism.message import Forward, Reply, Send
from organism.names import class_name, counted
from organism.payloads import is_payload
from organism.pump.failures import failure_of
from organism.threads.outcomes import Failure

if TYPE_CHECKING:
    from organism.message import Outgoing


def outgoing_of(result: Any, most: int) -> tuple[Outgoing, ...] | Failure:
    """What a handler returned, as a tuple; a Failure where that is no answer. (Whether its items are answers is checked by the kernel.)

    ``most``: how many messages may be under way in a thread at once. A generator of answers is read that far and no further: it may
    have no end, and nothing else runs while it is read.
    """
    whole: Any = result  # what isinstance makes of a generic has no types inside
    if isinstance(result, (Reply, Send, Forward)):
        return (whole,)
    if result is None:
        return ()
    if type(result) in {tuple, list}:  # no subclasses, which may iterate over anything
        return tuple(whole)
    if isinstance(result, Iterable) and not isinstance(result, (str, bytes, Mapping)):
        try:
            return _read(whole, most)
        except Exception as error:  # noqa: BLE001 - a generator of the handler's may raise anything
            return failure_of(error)
    name, kind = class_name(whole), cast("object", type(whole))
    hint = f"; write Reply({name}(...))" if is_payload(kind) else ""
    return Failure(
        "validation", f"a handler answers with None, Reply, Send, Forward or several of them, not {name}{hint}"
    )


def _read(answers: Iterable[Any], most: int) -> tuple[Any, ...] | Failure:
    read: list[Any] = []
    for answer in answers:
        if len(read) > most:  # one reply and as many messages are possible
            text = f"a handler gave more than {counted(most, 'answer')} at once, and is read no further: 'thread_queue' is {most:,}; send fewer at once"
            return Failure("refused", text)
        read.append(answer)
    return tuple(read)
