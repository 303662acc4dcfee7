"""``record:`` keeps what models were asked and what they answered, a JSON line for each attempt, below the router.

It is never in the way of the work: lines wait for a thread of their own, which alone touches the disk. What cannot be written is
missing in the file, and the log says so once.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
from attrs import define, evolve

from organism.errors import ConfigurationError, reason_of
from organism.files import is_there
from organism.journal.secrets import Marked
from organism.likeness import without_secrets
from organism.models.contract import BackendError, RawUsage
from organism.models.observed import ObservedBackend, Observer
from organism.models.recordings.takes import HEAD, Outcome, Step, key_of, seller_of, shown, text_of, written
from organism.models.validation import provider_at_work, usage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from datetime import datetime
    from pathlib import Path

    from organism.models.contract import Backend, Piece, Request, Response, Stream
    from organism.settings import BackendSettings

log: Final = logging.getLogger("organism.models")

ROOM: Final = 10_000
"""Lines that may wait to be written."""
PATIENCE: Final = 10.0
"""Seconds that closing waits for a disk that does not answer."""
_ALMOST: Final = 0.98
"""Of the timeout of an attempt: the router began to count a moment before its provider was asked."""


def opened(path: Path) -> str:
    """Makes the file ready for another run; what keeps it from being a recording, empty where nothing does.

    A last line that was cut off, as by a crash, is taken away.
    """
    try:
        if is_there(path) and not path.is_file():  # a device or a pipe may have no end, or none that comes
            return "is not a regular file; name another file"
        with path.open("a+b") as file:
            file.seek(0)
            first = file.readline(len(HEAD) + 1)
            if first and not HEAD.startswith(first) and first != HEAD:
                return "exists and is not a recording; name another file"
            _cut_tail(file)
            file.write(HEAD)
    except (OSError, ValueError) as error:
        return f"cannot be written: {reason_of(error)}; name a file that can be"
    return ""


def _cut_tail(file: Any) -> None:
    """Cuts what stands behind the last end of a line."""
    end = file.seek(0, 2)
    at = end
    while at:
        start = max(0, at - 65536)
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            at = start + found + 1
            break
        at = start
    if at < end:
        file.truncate(at)


_Line = tuple[str, int, str]
"""What is to be written: the request, the tokens that its answer might have, and the rest of a take, as canonical JSON."""


class Recording:
    """The file of one organism. Raises ConfigurationError where it cannot be one. ``clock`` (aware) dates its lines.

    What is ``marked`` is not written. ``room`` is how many lines may wait.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], datetime],
        marked: Marked | None = None,
        room: int = ROOM,
    ) -> None:
        if problem := opened(path):
            raise ConfigurationError([f"record: '{path}' {problem}"])
        self.path = path
        self.clock = clock
        self._marked = marked or Marked()
        self._room = room
        self._asked = 0
        self._users = 0
        self._lost = self._broken = False
        self._waiting: SimpleQueue[_Line | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def of(self, backend: Backend, settings: BackendSettings) -> Backend:
        """The same backend, recorded. It must be closed."""
        self._users += 1
        return RecordingBackend(backend, settings, self)

    def begin(self, request: Request, settings: BackendSettings, *, streamed: bool) -> Recorder:
        """An attempt begins: what it asks is taken down before anybody can change it."""
        self._asked += 1
        recorder = Recorder(
            recording=self,
            asked=self._asked,
            at=self.clock().isoformat(),
            seller=seller_of(settings),
            most=request.max_output_tokens,
            seconds=settings.timeout,
            steps=[] if streamed else None,
        )
        try:
            # What is a secret by now: the replay marks it as well, and is to ask the same.
            recorder.request = self._marked.hide(text_of(shown(request), "the request"))
        except Exception as error:  # noqa: BLE001 - the provider shall say what it thinks of such a request
            self._lose(error)
        return recorder

    def keep(self, recorder: Recorder, outcome: Outcome) -> None:
        """Takes what came of an attempt; never waits, never raises."""
        try:
            rest = {"asked": recorder.asked, "at": recorder.at, **recorder.seller, **written(outcome)}
            self._put((recorder.request, recorder.most, text_of(rest, "the answer")))
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer was paid for and goes to its asker
            self._lose(error)

    async def aclose(self) -> None:
        """One of those that use it is closed. The last one waits until all is written, or until its patience ends."""
        self._users -= 1
        if self._users == 0 and self._thread is not None:
            thread, self._thread = self._thread, None
            self._waiting.put(None)
            await anyio.to_thread.run_sync(thread.join, PATIENCE)
            if thread.is_alive():
                self._lose(TimeoutError(f"the disk did not answer for {PATIENCE:g} s"))

    def _put(self, line: _Line) -> None:
        if self._waiting.qsize() >= self._room:
            raise OSError("the disk does not keep up")
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="organism recording", daemon=True)
            thread.start()
            self._thread = thread
        self._waiting.put(line)

    def _lose(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            log.error("record: %s lacks calls from now on: %s: %s", self.path, type(error).__name__, error)

    # In its own thread

    def _work(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._write(line)
            except Exception as error:  # noqa: BLE001 - it is told, and must not end the process's work
                # Behind half a line nothing could be read any more. The next run cuts it off.
                self._broken = True
                self._lose(error)

    def _write(self, line: _Line) -> None:
        if self._broken:
            return
        # The hash is that of what is hidden: who is told what was read from there asks the same again.
        asked, most, came = line
        key = key_of(without_secrets(asked))
        request, rest = (without_secrets(self._marked.hide(part)) for part in (asked, came))
        text = f'{{"key":"{key}","max_output_tokens":{most},"request":{request},{rest[1:]}\n'
        with self.path.open("ab") as file:
            file.write(text.encode("utf-8", "surrogatepass"))


@define(eq=False, slots=False)
class Recorder(Observer):
    """One attempt that is being recorded, of at most ``seconds``; the first of its ways out counts."""

    recording: Recording
    asked: int
    at: str
    seller: dict[str, Any]
    most: int
    seconds: float
    request: str = ""
    steps: list[Step] | None = None
    stream: object = None
    reported: RawUsage | None = None
    waited: float = 0.0
    unended: str = ""
    """What came of a whole answer before its end."""
    unsent: bool = False
    """It was given up before there was a connection."""
    done: bool = False

    def listening(self, request: Request) -> Request:
        """The request, whose provider tells what came to this one, too."""

        def came(text: str) -> None:
            self.unended = text
            request.came(text)

        def unsent() -> None:
            self.unsent = True
            request.unsent()

        return evolve(request, came=came, unsent=unsent)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Looks after a wait for the provider: what it raises is what the attempt failed of, and so is the end of its time."""
        began = anyio.current_time()
        try:
            with provider_at_work():
                yield
        except BackendError as error:
            self.failed(error)
            raise
        except BaseException:
            if self.waited + anyio.current_time() - began >= _ALMOST * self.seconds:
                self.failed(self._timed_out())
            raise
        finally:
            self.waited += anyio.current_time() - began

    def _timed_out(self) -> BackendError:
        """What it failed of, as the router says it: what was never sent costs nothing, in a replay neither."""
        if self.unsent:
            return BackendError("connection", f"no connection within {self.seconds:g} s")
        return BackendError("timeout", f"no answer within {self.seconds:g} s", received=self.unended)

    def opened(self, stream: Stream) -> None:
        """A stream is open."""
        self.stream = stream

    def came(self, piece: Piece) -> None:
        """A piece of a stream came."""
        assert self.steps is not None  # noqa: S101 - it is a stream
        usage = usage_of(self.stream)
        news = usage != self.reported
        self.reported = usage
        self.steps.append(Step(piece=piece, usage=usage if news else None))

    def answered(self, response: Response) -> None:
        """The whole answer came."""
        self._end(response=response)

    def failed(self, error: BackendError) -> None:
        """It failed; so will its replay."""
        self._end(error=error, usage=usage_of(error) or usage_of(self.stream))

    def left(self) -> None:
        """The reader of a stream is gone. Where that was before its end, what came is kept; of one that brought nothing there
        is nothing to tell.
        """
        if self.steps:
            self._end(usage=usage_of(self.stream))
        self.done = True

    def _end(self, **came: Any) -> None:
        if not self.done and self.request:
            self.recording.keep(self, Outcome(steps=None if self.steps is None else tuple(self.steps), **came))
        self.done = True


class RecordingBackend(ObservedBackend):
    """A backend that is recorded."""

    def __init__(self, backend: Backend, settings: BackendSettings, recording: Recording) -> None:
        super().__init__(backend)
        self._settings = settings
        self._recording = recording

    def observe(self, request: Request, *, streamed: bool) -> tuple[Request, Recorder]:
        """See :class:`~organism.models.observed.ObservedBackend`."""
        recorder = self._recording.begin(request, self._settings, streamed=streamed)
        return recorder.listening(request), recorder

    async def aclose(self) -> None:
        """See :class:`~organism.models.contract.Backend`."""
        try:
            await super().aclose()
        finally:
            await self._recording.aclose()
