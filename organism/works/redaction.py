"""Log records without secrets: what hooks have marked, the keys of providers, and what looks like a key. None of them can be made to
look like two.

A filter on a logger sees what is logged there and nothing from the loggers below it: so it stands on each of those that this organism
and the SDKs of its providers write to, for as long as the organism runs.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final, cast

from organism.likeness import INSTEAD
from organism.names import class_name, sounds_secret, written_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from organism.journal.secrets import Marked
    from organism.models.redaction import Hiding

_OURS: Final = (
    "organism", "organism.agent", "organism.budget", "organism.clock", "organism.handlers", "organism.hooks", "organism.journal", "organism.mcp",
    "organism.models",    "organism.threads",
)  # fmt: skip
_THEIRS: Final = (
    "anthropic", "anthropic._base_client", "httpcore2.connection", "httpcore2.http11", "httpcore2.http2", "httpcore2.proxy", "httpx2",
    "mcp.client.stdio", "mcp.client.streamable_http", "mcp.shared.jsonrpc_dispatcher", "openai", "openai._base_client",
)  # fmt: skip
"""These tell requests and answers at DEBUG, and addresses with their queries at INFO."""
_NAMED: Final = re.compile(
    r"""(b?(['"])([\w-]{1,100})\2(?:: |, ))b?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL
)
"""A header or an option and its value, as they stand in a dictionary or a list that an SDK tells of."""
_SAYS: Final = logging.Handler()
"""Says on standard error what is wrong with logging itself."""
_LONGEST: Final = 100
"""Exceptions that one came of."""


class Redaction(logging.Filter):
    """Lets every record through, without what is a secret by then. ``handlers`` are the names of those that have loggers, ``hidings``
    keep what backends send beside their requests.
    """

    def __init__(self, marked: Marked, handlers: Iterable[str], hidings: Iterable[Hiding] = ()) -> None:
        super().__init__()
        self._marked = marked
        self._hidings = tuple(each for each in hidings if each)
        self.names = (*_OURS, *_THEIRS, *(f"organism.handlers.{name}" for name in handlers))

    def start(self) -> None:
        """From now on."""
        for name in self.names:
            logger = logging.getLogger(name)
            logger.addFilter(self)
            if name not in _THEIRS:
                _shelter(logger)

    def stop(self) -> None:
        """No longer."""
        for name in self.names:
            logging.getLogger(name).removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging: always true."""
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - wrong arguments are logging's own to report, as everywhere
            return True
        # A single call may bring a key of its own, which only its name tells.
        known = _NAMED.sub(_unnamed, said) if record.name in _THEIRS else said
        clean = _of_one(self._clean(known))
        if clean != said:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            self._clean_trace(record, record.exc_info[1])
        return True

    def _clean(self, text: str) -> str:
        for hiding in self._hidings:
            text = hiding.clean(text)
        return self._marked.left_out(text)

    def _clean_trace(self, record: logging.LogRecord, error: BaseException) -> None:
        """Puts another exception in the place of one that says a secret: of a class of the same name, raised at the same place."""
        said = [_text_of(each) for each in _chain(error)]
        clean = [written_out(self._clean(each)) for each in said]
        if clean == said:
            return
        first, *causes = (f"{each}" for each in clean)
        text = first + "".join(
            f"; from {class_name(each)}: {one}" for each, one in zip(list(_chain(error))[1:], causes, strict=True)
        )
        kind = cast(
            "type[BaseException]", type(class_name(error), (Exception,), {"__module__": type(error).__module__})
        )
        record.exc_info = (kind, kind(text).with_traceback(error.__traceback__), error.__traceback__)


def _shelter(logger: logging.Logger) -> None:
    """Has what the program's handlers and filters of log records raise said as logging says what it catches itself: where we log, nothing
    is wrong, and whatever is half done there would stay so.
    """
    if "handle" in vars(logger):  # as set by another organism, or by somebody else
        return
    handle = logger.handle

    def sheltered(record: logging.LogRecord) -> None:
        try:
            handle(record)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - they are not ours, and may raise a cancellation too
            _SAYS.handleError(record)

    vars(logger)["handle"] = sheltered


def _unnamed(found: re.Match[str]) -> str:
    """A value that is a secret by its name is left out."""
    return f"{found[1]}'{INSTEAD}'" if sounds_secret(found[3]) else found[0]


def _of_one(text: str) -> str:
    """The text of one record: whatever a handler, a model or a provider wrote in it, no line of it begins as a record does, and nothing
    in it is done by a terminal.
    """
    return written_out(text).replace("\n", "\n    ") if not text.isprintable() else text


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, those in it, and those that it came of."""
    waiting, seen = [error], set[int]()
    while waiting and len(seen) < _LONGEST:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inside: tuple[BaseException, ...] = ()
        if isinstance(one, BaseExceptionGroup):
            inside = cast("BaseExceptionGroup[BaseException]", one).exceptions
        waiting += [each for each in (*inside, one.__cause__, one.__context__) if each is not None]


def _text_of(error: BaseException) -> str:
    """What an exception says, with its notes; nothing where it cannot even tell that."""
    try:
        notes: Any = getattr(error, "__notes__", ())
        return "\n".join((str(error), *(str(each) for each in notes)))
    except Exception:  # noqa: BLE001 - it is somebody's own, and its text may raise anything
        return ""
