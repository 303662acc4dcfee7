"""What a run sends to whom: ``--to`` and ``--send``, else ``start:``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from organism.cli.text import one_line
from organism.errors import ConfigurationError, InvalidPayloadError
from organism.names import suggestion, there_are
from organism.payloads import Vocabulary, takes_lines
from organism.payloads.faults import OtherPayloadError
from organism.payloads.primitives import ORGANISM_ONLY
from organism.settings import StartMessage

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from typing import TextIO

    from organism.settings import HandlerSettings, Settings

_WAYS: Final = "give it as XML, JSON, @FILE, - (standard input), or plain text"


def messages(
    settings: Settings, *, to: str | None, send: str | None, stdin: TextIO, needed: bool = True
) -> tuple[StartMessage, ...]:
    """The messages of a run. ``send`` is XML, JSON, ``@FILE``, ``-``, or plain text where one required str takes it.

    Without ``to`` it goes to the only handler that takes it, else to the only one that ``start:`` sends to. Raises
    ConfigurationError where there is nothing to send though that is ``needed``, or it is not clear to whom, or no payload of that handler.
    """
    if send is None:
        if to is not None:
            raise ConfigurationError([f"--to {to}: there is no message to send; add --send, and {_WAYS}"])
        if needed and not settings.start:
            raise ConfigurationError(["there is nothing to do: use --to and --send, or write 'start:' into the file"])
        return settings.start
    named = None if to is None else handler_of(settings, to)
    text = text_of(send, stdin)
    handler = named or _taker(settings, text)
    return (StartMessage(to=handler.name, payload=payload_of(handler, text, said="--send")),)


def handler_of(settings: Settings, to: str | None) -> HandlerSettings:
    """The handler that ``--to`` names; the only one there is where it names none. Raises ConfigurationError."""
    if to is None:
        started = {message.to for message in settings.start}
        able = [name for name, handler in settings.handlers.items() if _from_outside(handler)]
        one = able if len(able) == 1 else list(started)
        if len(one) != 1:
            raise ConfigurationError([f"--to is missing: name a handler; there are: {', '.join(settings.handlers)}"])
        return settings.handlers[one[0]]
    if to not in settings.handlers:
        near = suggestion(to, settings.handlers) or there_are(tuple(settings.handlers))
        raise ConfigurationError([f"--to {one_line(to)}: is not a handler{near}"])
    return settings.handlers[to]


def text_of(send: str, stdin: TextIO) -> str:
    """The text itself, or what the file or standard input holds. Raises ConfigurationError where that is nothing but blanks: of a
    variable that nothing was set to, or a program that has failed, nobody wants to pay for an answer.
    """
    if send.startswith("@"):
        return text_in(send, said="--send")
    text = _said(send, stdin)
    if not text.strip():
        raise _empty("--send" if send == text else "--send -")
    return text


def text_in(named: str, *, said: str) -> str:
    """What the file holds that is named as ``@FILE``; ``said`` is where it was named. Raises ConfigurationError as :func:`text_of`."""
    place = f"{said} {one_line(named)}"
    if not one_line(named[1:]):
        raise ConfigurationError([f"{place}: names no file; write it as in @question.xml"])
    try:
        text = _unended(Path(named[1:]).read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"{place}: the file is not UTF-8 (at byte {error.start})"]) from error
    except FileNotFoundError as error:
        hint = "a text that begins with '@' can be written as JSON"
        raise ConfigurationError([f"{place}: there is no such file; {hint}"]) from error
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError([f"{place}: cannot be read: {reason}"]) from error
    if not text.strip():
        raise _empty(place)
    return text


def _empty(place: str) -> ConfigurationError:
    return ConfigurationError([f"{place}: is empty; to send an empty text on purpose, write it as JSON"])


def _said(send: str, stdin: TextIO) -> str:
    if send == "-":
        try:
            return _unended(stdin.read())
        except UnicodeDecodeError as error:
            raise ConfigurationError([f"--send -: standard input is not UTF-8: {error.reason}"]) from error
    return send


def _unended(text: str) -> str:
    """Without the line feed that ends every file and every ``echo``: it belongs to neither."""
    return text.rstrip("\r\n")


def payload_of(handler: HandlerSettings, text: str, *, said: str) -> Any:
    """The payload that a text is for a handler. ``said`` is where it was said. Raises ConfigurationError, with what it takes."""
    expect = _from_outside(handler)
    if not expect:
        raise ConfigurationError(
            [f"{said}: '{handler.name}' takes only messages from the organism itself, and none from outside"]
        )
    try:
        return Vocabulary(handler.accepts).decode_text(text, expect)
    except InvalidPayloadError as error:
        head = f"{said}: {one_line(str(error))}"
        raise ConfigurationError([head, f"'{handler.name}' takes:", *takes_lines(expect)]) from error


def _taker(settings: Settings, text: str) -> HandlerSettings:
    """The handler that a text goes to when nobody says which."""
    able = [handler for handler in settings.handlers.values() if _takes(handler, text)]
    if len(able) == 1:
        return able[0]
    started = {message.to for message in settings.start}
    if len(started) == 1:
        return settings.handlers[next(iter(started))]
    if able:
        raise ConfigurationError([f"--send: {_listed(able)} could take it; name one with --to"])
    if not settings.handlers:
        raise ConfigurationError(["--send: there is no handler to send to"])
    why = _wrong_with(settings, text) or "no handler takes this; name one with --to"
    raise ConfigurationError([f"--send: {why}. There are:", *_takers(settings.handlers)])


def _wrong_with(settings: Settings, text: str) -> str | None:
    """What is wrong with a document that somebody would take otherwise: it is not well-formed, or its fields do not fit.

    ``None`` for one of another payload, and for plain text: nobody can say for whom it was meant.
    """
    if not text.lstrip().startswith(("<", "{")):
        return None
    expect = dict.fromkeys(cls for handler in settings.handlers.values() for cls in _from_outside(handler))
    try:
        Vocabulary(expect).decode_text(text, tuple(expect))
    except OtherPayloadError:
        return None
    except InvalidPayloadError as error:
        return one_line(str(error))
    return None


def _takes(handler: HandlerSettings, text: str) -> bool:
    expect = _from_outside(handler)
    if not expect:
        return False
    try:
        Vocabulary(handler.accepts).decode_text(text, expect)
    except InvalidPayloadError:
        return False
    return True


def _from_outside(handler: HandlerSettings) -> tuple[type[Any], ...]:
    """What may be sent to a handler; what only the organism itself says may not."""
    return tuple(cls for cls in handler.accepts if cls not in ORGANISM_ONLY)


def _listed(handlers: Collection[HandlerSettings]) -> str:
    names = [f"'{handler.name}'" for handler in handlers]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _takers(handlers: Mapping[str, HandlerSettings]) -> list[str]:
    return [
        f"  {name} takes {' or '.join(cls.__name__ for cls in _from_outside(handler)) or 'nothing from outside'}"
        for name, handler in handlers.items()
    ]
