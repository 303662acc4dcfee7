"""The last messages of each root thread, as digests: what loops are told by.

A ring is bounded whatever is sent, and counting is one look. What a handler begins is counted: sends, asks, spawns, forwards. A
reply answers one of these, so no loop goes without them; and a worker that answers "done" to many tasks is in no loop. What is asked
of the organism itself is not counted either: an agent may look at its budget as often as it likes.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Final

from attrs import define, frozen

from organism.errors import OrganismError
from organism.names import ORGANISM
from organism.payloads import encode_xml
from organism.record.images import RingImage
from organism.threads.frames import Message, Thread
from organism.threads.lineage import root_of

if TYPE_CHECKING:
    from organism.settings import Loops

WARNED: Final = 256
"""Routes that a thread remembers to have warned of; further ones take the places of the oldest."""


@frozen(eq=False)
class Repeated:
    """A message that was sent for the ``times``-th time among the last ones of its thread."""

    message: Message
    digest: str
    times: int


@define(eq=False)
class Ring:
    """The last messages of a root thread, as digests, and the routes that were warned of, each with the number of its warning."""

    recent: deque[str]
    counts: dict[str, int]
    warned: dict[str, int]

    def add(self, digest: str) -> int:
        """Takes a message in; gives how often it is among the last ones, itself included."""
        if len(self.recent) == self.recent.maxlen:
            oldest = self.recent.popleft()
            left = self.counts[oldest] - 1
            if left:
                self.counts[oldest] = left
            else:
                del self.counts[oldest]
        self.recent.append(digest)
        count = self.counts[digest] = self.counts.get(digest, 0) + 1
        return count

    def warn(self, digest: str, seq: int) -> None:
        """A route was warned of."""
        self.warned[digest] = seq
        while len(self.warned) > WARNED:
            del self.warned[next(iter(self.warned))]


class Rings:
    """The rings of an organism's live root threads. ``repeated`` collects what was repeated too often, until somebody asks."""

    def __init__(self, loops: Loops) -> None:
        self.loops = loops
        self.repeated: list[Repeated] = []
        self._of: dict[Thread, Ring] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, message: Message) -> None:
        """A message was put in its mailbox."""
        if message.kind == "reply" or not message.sender or ORGANISM in (message.sender, message.to):
            return
        digest = digest_of(message)
        times = self.of(root_of(message.thread)).add(digest)
        if times >= self.loops.repeats:
            self.repeated.append(Repeated(message, digest, times))

    def of(self, root: Thread) -> Ring:
        """The ring of a root thread."""
        ring = self._of.get(root)
        if ring is None:
            ring = self._of[root] = Ring(deque(maxlen=self.loops.within), {}, {})
        return ring

    def end(self, thread: Thread) -> None:
        """A thread has ended."""
        self._of.pop(thread, None)

    def image(self, thread: Thread) -> RingImage | None:
        """The ring of a root thread, frozen; ``None`` where nothing was sent in it."""
        ring = self._of.get(thread)
        return None if ring is None else RingImage(recent=tuple(ring.recent), warned=dict(ring.warned))

    def restore(self, thread: Thread, image: RingImage) -> None:
        """Makes a thread's ring of an image."""
        ring = self.of(thread)
        for digest in image.recent:
            ring.add(digest)
        for digest, seq in sorted(image.warned.items(), key=lambda each: each[1]):
            ring.warn(digest, seq)


def digest_of(message: Message) -> str:
    """What says that two messages are the same: sender, receiver and payload. It is the same in every process."""
    try:
        said = encode_xml(message.payload)
    except OrganismError:  # what cannot be written down is told by what it shows
        said = repr(message.payload).encode("utf-8", "backslashreplace")
    route = f"{message.sender}\0{message.to}\0".encode()
    return hashlib.blake2b(route + said, digest_size=12).hexdigest()
