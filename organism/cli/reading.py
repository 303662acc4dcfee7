"""Which thread or conversation of a journal a person means."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from attrs import frozen

from organism.cli.text import one_line
from organism.errors import ConfigurationError, JournalError
from organism.journal.contract import Chain
from organism.names import CONVERSATION, ambiguous, begun, is_of_limits, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from organism.cli.streams import Streams
    from organism.journal import Journal

LATEST: Final = "latest"
"""What is typed for the thread or conversation in which something happened last. One whose id is so, or alone begins so, goes first."""


@frozen
class Meant:
    """What a person means: a thread and the chain it is in. ``thread`` is the chain's own id where all of it is meant. ``latest``: it was
    not named, and they should be told which it is.
    """

    chain: Chain
    thread: str
    latest: bool = False

    @property
    def named(self) -> str:
        """What it is, and its name."""
        what = "conversation" if self.thread.startswith(CONVERSATION) else "thread"
        return f"{what} {one_line(self.thread.removeprefix(CONVERSATION))}"

    def told(self, streams: Streams, *, id_: str | None = None) -> Meant:
        """The same, after it was said which it is where nobody named it. Raises ConfigurationError where nobody did for an order with an id."""
        if self.latest and id_ is not None:
            raise ConfigurationError(
                [f"--id {one_line(id_)}: name the thread: another one may be the latest when this is given again"]
            )
        if self.latest:
            streams.note(f"latest: {self.named}")
        return self


def meant(journal: Journal, text: str | None, *, limits: bool = False) -> Meant:
    """The thread with this id, or with the only id that begins so; a turn is one too, and a conversation is named by its own id. ``LATEST``
    or nothing means the one with the newest entry.

    Sub-threads are named in full; with ``limits``, what tells how an account's were raised is named so too. Raises ConfigurationError
    where there is none, or more than one.
    """
    whole = None if text is None else _named_in_full(journal, text, limits=limits)
    if whole is not None:
        return whole
    chains = {chain.root: chain for chain in journal.chains() if limits or not is_of_limits(chain.root)}
    known = [root for root in chains if not is_of_limits(root)]  # of those, only whole names are meant
    if text is None:
        return _latest(chains, known)
    roots = [root for root in known if text and root.removeprefix(CONVERSATION).startswith(text)]
    if len(roots) == 1:
        return Meant(chains[roots[0]], roots[0])
    turns = {} if roots else dict(_turns(journal, chains))
    names = roots or begun(text, turns)
    if len(names) == 1:
        return Meant(turns[names[0]], names[0])
    if names:
        raise ConfigurationError([ambiguous(text, names, "threads")])
    if text == LATEST:
        return _latest(chains, known)
    shown = one_line(text)
    if not known:
        raise ConfigurationError([f"there is no thread '{shown}': the journal holds none"])
    hint = suggestion(text, chains)
    raise ConfigurationError([f"there is no thread '{shown}'{one_line(hint)}; 'organism threads' lists all"])


def _named_in_full(journal: Journal, text: str, *, limits: bool) -> Meant | None:
    """What has this very name. The others need not be looked through, of which there may be very many."""

    def chain(root: str | None) -> Chain | None:
        return None if root is None or (is_of_limits(root) and not limits) else journal.chain(root)

    for root in (text, CONVERSATION + text):
        if (there := chain(root)) is not None:
            return Meant(there, root)
    inside = chain(journal.root_of(text))
    return None if inside is None else Meant(inside, text)


def _latest(chains: Mapping[str, Chain], known: Sequence[str]) -> Meant:
    """The thread or conversation with the newest entry. Raises ConfigurationError where there is none."""
    if not known:
        raise ConfigurationError(["there is no latest thread: the journal holds none"])
    newest = max(reversed(known), key=lambda root: (chains[root].last, chains[root].began))
    return Meant(chains[newest], newest, latest=True)


def _turns(journal: Journal, chains: Mapping[str, Chain]) -> Iterator[tuple[str, Chain]]:
    """The turns of all conversations: what is not damaged of them."""
    for root, chain in chains.items():
        if root.startswith(CONVERSATION):
            with suppress(JournalError):
                for document in journal.documents(root, kinds=("Accepted",)):
                    yield document["thread"], chain
