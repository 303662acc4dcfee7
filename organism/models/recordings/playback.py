"""The ``recorded`` provider: it answers from a file that ``record:`` wrote, without a key, a network or a price of its own.

Attempts that asked the same are answered in the order in which they were asked; when all were given, the last answer comes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.lowlevel
from attrs import define, field

from organism.errors import ConfigurationError, reason_of
from organism.journal.secrets import Marked
from organism.likeness import without_secrets
from organism.models.contract import BackendError, BackendFactory
from organism.models.formats import pieces_of
from organism.models.recordings.mismatch import told_of
from organism.models.recordings.takes import HEAD, Step, Take, document_of, key_of, read, seller_in, shown, text_of
from organism.names import printable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from organism.models.contract import Piece, RawUsage, Request, Response, Stream
    from organism.settings import BackendSettings, Seller

_LONGEST: Final = 200
"""Characters that are told of what is wrong with a line: it may quote from there."""


@define(eq=False)
class Tape:
    """What a recording holds, and how far it was played."""

    path: Path
    takes: Mapping[str, Sequence[Take]]
    _played: set[int] = field(factory=set[int], init=False)

    @classmethod
    def of(cls, path: Path) -> Tape:
        """The tape in a file. Raises ConfigurationError where it cannot be read, or is damaged: a last line that was cut off is
        no damage.
        """
        found: dict[str, list[tuple[int, Take]]] = {}
        for run, number, line in _lines(path):
            try:
                take = read(document_of(line), line=number)
            except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
                why = printable(f"{type(error).__name__}: {error}", at_most=_LONGEST)
                said = f"line {number} is damaged ({why}); delete it, or record again"
                raise ConfigurationError([f"{path} {said}"]) from None
            found.setdefault(take.key, []).append((run, take))
        ordered = {
            key: tuple(take for _, take in sorted(takes, key=lambda each: (each[0], each[1].asked)))
            for key, takes in found.items()
        }
        return cls(path, ordered)

    def next(self, key: str, most: int, *, streamed: bool) -> Take | None:
        """What answers a request that has this key and may have ``most`` tokens; ``None`` where nothing does."""
        fitting = [take for take in self.takes.get(key, ()) if take.fits(most, streamed=streamed)]
        if not fitting:
            return None
        fresh = [take for take in fitting if take.line not in self._played]
        alike = [take for take in fresh if take.max_output_tokens == most]
        if fresh:
            chosen = (alike or fresh)[0]
        else:
            chosen = ([take for take in fitting if take.outcome.response is not None] or fitting)[-1]
        self._played.add(chosen.line)
        return chosen


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """The takes of a file, as (run, number of the line, line). Raises ConfigurationError where it is no recording."""
    if problem := problem_of(path):
        raise ConfigurationError([problem])
    run = 0
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line == HEAD:
                    run += 1
                elif line.endswith(b"\n"):
                    yield run, number, line
    except OSError as error:
        raise ConfigurationError([f"{path} cannot be read: {reason_of(error)}"]) from None


def problem_of(path: Path) -> str:
    """Why a file is no recording; empty where it is one. Only its beginning is looked at."""
    try:
        with path.open("rb") as file:
            head = file.read(len(HEAD))
    except FileNotFoundError:
        return f"there is no recording {path}; run once with `record: {path.name}` on a model that answers"
    except (OSError, ValueError) as error:
        return f"{path} cannot be read: {reason_of(error)}"
    return "" if head == HEAD else f"{path} is not a recording; name a file that `record:` has written"


class RecordedBackend:
    """A backend that answers from a tape. Requests are looked up without what is ``marked``, as they were written."""

    def __init__(self, tape: Tape, settings: BackendSettings, *, marked: Marked | None = None) -> None:
        self._tape = tape
        self._marked = marked or Marked()
        self._falls_through = settings.options.get("on_missing") == "fallthrough"

    async def complete(self, request: Request) -> Response:
        """See :class:`~organism.models.contract.Backend`. Raises what was raised then, and BackendError (``declined`` or
        ``unrecorded``) where nothing was recorded.
        """
        await anyio.lowlevel.checkpoint()
        take = self._take(request, streamed=False)
        if take.outcome.response is None:
            raise _raised(take)
        return take.outcome.response

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncGenerator[Stream]:
        """See :class:`~organism.models.contract.Backend`. An answer that was recorded whole comes in whole texts."""
        await anyio.lowlevel.checkpoint()
        take = self._take(request, streamed=True)
        if take.outcome.error is not None and not take.outcome.steps and take.outcome.usage is None:
            raise _raised(take)
        yield _RecordedStream(take)

    async def aclose(self) -> None:
        """Does nothing: there is no connection."""

    def _take(self, request: Request, *, streamed: bool) -> Take:
        asked = shown(request)
        text = without_secrets(self._marked.hide(text_of(asked, "the request")))
        take = self._tape.next(key_of(text), request.max_output_tokens, streamed=streamed)
        if take is not None:
            return take
        if self._falls_through:
            raise BackendError("declined", f"{self._tape.path} has no answer to this request")
        lines = (line for _, _, line in _lines(self._tape.path))
        raise BackendError("unrecorded", f"{self._tape.path} {told_of(text, request.max_output_tokens, lines)}")


def _raised(take: Take) -> BackendError:
    """What was raised then, made anew: an error gathers what happens to it."""
    error = take.outcome.error
    if error is None:
        return BackendError("cut", f"whoever read this stream when it was recorded left here (line {take.line})")
    return BackendError(
        error.kind, str(error), retry_after=error.retry_after, usage=error.usage, received=error.received
    )


class _RecordedStream:
    """The pieces of a take, as they came."""

    def __init__(self, take: Take) -> None:
        self.response: Response | None = None
        self.usage: RawUsage | None = None
        self._take = take
        steps = take.outcome.steps
        if steps is None:
            response = take.outcome.response
            steps = () if response is None else tuple(Step(piece=piece) for piece in pieces_of(response))
        self._steps = iter(steps)

    def __aiter__(self) -> _RecordedStream:
        return self

    async def __anext__(self) -> Piece:
        await anyio.lowlevel.checkpoint()
        step = next(self._steps, None)
        if step is not None:
            self.usage = step.usage or self.usage
            return step.piece
        outcome = self._take.outcome
        if outcome.response is None:
            self.usage = outcome.usage or self.usage
            raise _raised(self._take)
        self.response, self.usage = outcome.response, outcome.response.usage
        raise StopAsyncIteration


def check(settings: BackendSettings) -> Sequence[str]:
    """What is wrong with the file, one line each; the options were looked at where they stand."""
    if settings.recording is None:
        return ["provider 'recorded' has no file; say `options: {file: PATH}`, or `record: PATH` at the top"]
    try:
        # All of it: what is damaged would otherwise be found when the first call goes on to the next backend.
        Tape.of(settings.recording)
    except ConfigurationError as error:
        return error.mistakes
    return ()


def recorded_from(settings: BackendSettings, tapes: dict[Path, Tape], marked: Marked | None = None) -> RecordedBackend:
    """The backend of these settings, which were checked; ``tapes`` are those that are open, by their path. Raises ConfigurationError
    where its tape cannot be read any more.
    """
    path = settings.recording
    assert path is not None  # noqa: S101 - it was checked
    if path not in tapes:
        tapes.setdefault(path, Tape.of(path))  # another thread may have read it meanwhile
    return RecordedBackend(tapes[path], settings, marked=marked)


PROVIDER: Final = BackendFactory(make=lambda settings, _: recorded_from(settings, {}), check=check)


def first_seller(path: Path, model: str) -> Seller | None:
    """Who was the first to be asked for a model; ``None`` where that cannot be read, as :func:`check` says."""
    try:
        for _, _, line in _lines(path):
            document = document_of(line)
            if document["request"]["model"] == model:
                return seller_in(document)
    except (ConfigurationError, ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None
    return None
