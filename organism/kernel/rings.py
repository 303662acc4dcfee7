"""Ring buffers of the last messages of each root thread, as digests: loop detection counts repetitions in them.

A ring has a fixed length, and a count takes one lookup. Counted is what a handler begins: sends, asks, spawns and forwards. Replies are
not: no loop can do without the messages that they answer, and a worker that answers "done" to many tasks is in no loop. Messages to the
organism itself are not either: an agent may look at its budget as often as it likes.

The rules (when to warn, when to stop) are in :mod:`organism.kernel.loops`.
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
"""How many repeated messages a thread remembers to have warned of; a further one replaces the oldest."""


@frozen(eq=False)
class Repeated:
    """A message that stands ``times`` times among the last ones of its thread."""

    message: Message
    digest: str
    times: int


@define(eq=False)
class Ring:
    """The digests of the last messages of a root thread (``recent``), how often each stands there (``counts``), and those that were warned of,
    each with the number of its warning (``warned``).
    """

    recent: deque[str]
    counts: dict[str, int]
    warned: dict[str, int]

    def add(self, digest: str) -> int:
        """Adds a message; returns how often it is among the last ones, itself included."""
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
        """A repeated message was warned of, by the warning of this number."""
        self.warned[digest] = seq
        while len(self.warned) > WARNED:
            del self.warned[next(iter(self.warned))]


class Rings:
    """The rings of an organism's live root threads. ``repeated`` collects messages that were repeated too often; ``note_loops`` takes them."""

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
    """The digest of a message: of its sender, receiver and payload. It is the same in every process."""
    try:
        said = encode_xml(message.payload)
    except OrganismError:  # what has no XML is told by its repr
        said = repr(message.payload).encode("utf-8", "backslashreplace")
    route = f"{message.sender}\0{message.to}\0".encode()
    return hashlib.blake2b(route + said, digest_size=12).hexdigest()
