"""Open frames and messages by the names that the record gives them; only a fold needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from organism.names import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.record.images import Ref
    from organism.threads.frames import Frame, Message

Item = TypeVar("Item")


class SenselessError(ValueError):
    """A fact does not follow from those before it: what it speaks of was never opened, is over, or exists already."""


class _Messages(dict["Ref", "Message"]):
    def __missing__(self, name: Ref) -> Message:
        raise SenselessError(f"it refers to message {name[1]} of thread {told(name[0])}, which is not open")


class _Frames(dict["Ref", "Frame"]):
    def __missing__(self, name: Ref) -> Frame:
        raise SenselessError(
            f"it refers to the frame of message {name[1]} of thread {told(name[0])}, which is not open"
        )


class Index:
    """What is open, by (thread id, seq). Looking up anything else raises SenselessError."""

    def __init__(self) -> None:
        self.messages: dict[Ref, Message] = _Messages()
        self.frames: dict[Ref, Frame] = _Frames()
        self._in: dict[Frame, dict[Message, None]] = {}
        """The messages in each frame."""
        self._under: dict[Frame, dict[Frame, None]] = {}
        """The frames that each counts among its open children."""

    def posted(self, message: Message) -> None:
        """A message was put in a mailbox."""
        self.messages[message.thread.id, message.seq] = message
        self._in.setdefault(message.frame, {})[message] = None

    def forget(self, message: Message) -> None:
        """A message was handled or dropped."""
        del self.messages[message.thread.id, message.seq]
        _take_out(self._in, message.frame, message)

    def opened(self, frame: Frame) -> None:
        """A frame was opened."""
        self.frames[frame.thread.id, frame.seq] = frame
        if frame.above is not None:
            self._under.setdefault(frame.above, {})[frame] = None

    def closed(self, frame: Frame) -> None:
        """A frame closed."""
        del self.frames[frame.thread.id, frame.seq]
        if frame.above is not None:
            _take_out(self._under, frame.above, frame)

    def below(self, frame: Frame) -> Iterator[Message]:
        """The open messages in a frame and in all that were opened on its behalf."""
        frames = [frame]
        while frames:
            each = frames.pop()
            yield from self._in.get(each, ())
            frames.extend(self._under.get(each, ()))


def _take_out(index: dict[Frame, dict[Item, None]], frame: Frame, item: Item) -> None:
    beside = index[frame]
    del beside[item]
    if not beside:
        del index[frame]
