"""What a run sends to whom: ``--to`` and ``--send``, else ``start:``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from organism.cli.text import listed, one_line
from organism.errors import ConfigurationError, InvalidPayloadError, reason_of
from organism.names import suggestion, there_are
from organism.payloads import Vocabulary, takes_lines
from organism.payloads.faults import OtherPayloadError
from organism.payloads.primitives import ORGANISM_ONLY
from organism.settings import StartMessage

if TYPE_CHECKING:
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
            raise ConfigurationError([f"--to {one_line(to)}: there is no message to send; add --send, and {_WAYS}"])
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
    if send != "-":
        return _not_empty(send, "--send")
    try:
        return _not_empty(stdin.read().rstrip("\r\n"), "--send -")
    except UnicodeDecodeError as error:
        raise ConfigurationError([f"--send -: standard input is not UTF-8: {error.reason}"]) from error


def text_in(named: str, *, said: str) -> str:
    """What the file holds that is named as ``@FILE``; ``said`` is where it was named. Raises ConfigurationError as :func:`text_of`."""
    place = f"{said} {one_line(named)}"
    if not one_line(named[1:]):
        raise ConfigurationError([f"{place}: names no file; write it as in @question.xml"])
    try:
        # The line feed that ends every file and every ``echo`` belongs to neither.
        return _not_empty(Path(named[1:]).read_text("utf-8-sig").rstrip("\r\n"), place)
    except UnicodeDecodeError as error:
        problem = f"the file is not UTF-8 (at byte {error.start})"
    except FileNotFoundError:
        problem = "there is no such file; a text that begins with '@' can be written as JSON"
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        problem = f"cannot be read: {reason_of(error)}"
    raise ConfigurationError([f"{place}: {problem}"])


def _not_empty(text: str, place: str) -> str:
    if not text.strip():
        raise ConfigurationError([f"{place}: is empty; to send an empty text on purpose, write it as JSON"])
    return text


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
    takers = {name: _from_outside(handler) for name, handler in settings.handlers.items()}
    able = [name for name, expect in takers.items() if _read(text, expect) is None]
    started = {message.to for message in settings.start}
    if len(able) == 1 or len(started) == 1:
        return settings.handlers[able[0] if len(able) == 1 else started.pop()]
    if able:
        names = listed([f"'{name}'" for name in able])
        raise ConfigurationError([f"--send: {names} could take it; name one with --to"])
    if not takers:
        raise ConfigurationError(["--send: there is no handler to send to"])
    # Of another payload, and of plain text, nobody can say for whom it was meant.
    every = tuple(dict.fromkeys(cls for expect in takers.values() for cls in expect))
    wrong = _read(text, every) if text.lstrip().startswith(("<", "{")) else None
    known = wrong is not None and not isinstance(wrong, OtherPayloadError)
    why = one_line(str(wrong)) if known else "no handler takes this; name one with --to"
    taken = {name: " or ".join(cls.__name__ for cls in expect) for name, expect in takers.items()}
    there = [f"  {name} takes {each or 'nothing from outside'}" for name, each in taken.items()]
    raise ConfigurationError([f"--send: {why}. There are:", *there])


def _read(text: str, expect: tuple[type[Any], ...]) -> InvalidPayloadError | None:
    """What is wrong with a text as one of these payloads."""
    try:
        Vocabulary(expect).decode_text(text, expect)
    except InvalidPayloadError as error:
        return error
    return None


def _from_outside(handler: HandlerSettings) -> tuple[type[Any], ...]:
    """What may be sent to a handler; what only the organism itself says may not."""
    return tuple(cls for cls in handler.accepts if cls not in ORGANISM_ONLY)
