"""Finding frames, messages and warnings by what the record calls them; only a fold needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from organism.record.images import Ref
    from organism.threads.frames import Frame, Message


class Index:
    """What is open, by (thread, seq)."""

    def __init__(self) -> None:
        self.messages: dict[Ref, Message] = {}
        self.frames: dict[Ref, Frame] = {}

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
