"""Open frames and messages by the names that the record gives them; only a fold needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from organism.names import told

if TYPE_CHECKING:
    from organism.record.images import Ref
    from organism.threads.frames import Frame, Message


class SenselessError(ValueError):
    """A fact does not follow from those before it: what it speaks of was never opened, is over, or exists already."""


class _Messages(dict["Ref", "Message"]):
    def __missing__(self, name: Ref) -> Message:
        raise SenselessError(f"it speaks of message {name[1]} of thread {told(name[0])}, which is not open")


class _Frames(dict["Ref", "Frame"]):
    def __missing__(self, name: Ref) -> Frame:
        raise SenselessError(
            f"it speaks of the frame of message {name[1]} of thread {told(name[0])}, which is not open"
        )


class Index:
    """What is open, by (thread id, seq). Looking up anything else raises SenselessError."""

    def __init__(self) -> None:
        self.messages: dict[Ref, Message] = _Messages()
        self.frames: dict[Ref, Frame] = _Frames()

    def posted(self, message: Message) -> None:
        """A message was put in a mailbox."""
        self.messages[message.thread.id, message.seq] = message

    def forget(self, message: Message) -> None:
        """A message was handled or dropped."""
        del self.messages[message.thread.id, message.seq]

    def opened(self, frame: Frame) -> None:
        """A frame was opened."""
        self.frames[frame.thread.id, frame.seq] = frame

    def closed(self, frame: Frame) -> None:
        """A frame closed."""
        del self.frames[frame.thread.id, frame.seq]
