"""Names that users write: what they may look like, and the nearest one when they are wrong."""

from __future__ import annotations

import difflib
import hashlib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

ORGANISM: Final = "organism"
"""The sender of the organism's own primitives; no handler may be called so."""

CONVERSATION: Final = "conversation:"
"""How the ids of chains begin that hold a conversation; no thread may be called so."""

ACCOUNT: Final = "account:"
"""How the name of an account's node begins, and that of its chain; it is followed by ``kind:name``. No thread may be called so."""

CHAIN_OF_CEILING: Final = "ceiling:"
"""The chain of the organism's own limits; no thread may be called so."""

TOOL: Final = "."
"""What parts an agent's name from that of its tool, in the name of the handler that the tool is; no other handler has one."""

REPLY: Final = "reply"
"""What models call the tool with which an agent answers; with several classes of replies there is one for each, see :func:`tool_for`."""

MOST_LOOKED_AT: Final = 1000
"""Names that a wrong one is compared with, at most: looking for the nearest takes some microseconds for each."""

LINES: Final = "lines"
"""The attribute of a log record that is true where its message has lines of our own making, as a stack is."""

OF_CALLERS: Final = "of_callers"
"""The attribute of a log record that is true where callers hear the same: a command, which shows what these hear, leaves it out."""

MORE: Final = "…"
"""What stands for the part of a text that is not told."""

LONGEST_TOOL: Final = 64
"""Characters of a tool's name that all providers take."""
_UNTAKEN: Final = re.compile(r"[^A-Za-z0-9_-]")
"""What no provider takes in the name of a tool."""
_DIGITS: Final = 8
_SHOWN: Final = 5
"""Names that begin alike and are told."""
_TOLD: Final = 20
"""Names that are told where a name is none of them."""
_LONGEST: Final = 200
"""Characters of a name that are told."""
HANDLER_NAME: Final = "[a-z][a-z0-9_-]{0,63}"
"""What names of handlers and of models look like, as a pattern."""
ORGANISM_NAME: Final = "[a-z][a-z0-9-]*"
"""The same of organisms."""
_HANDLER: Final = re.compile(HANDLER_NAME)
_ORGANISM: Final = re.compile(ORGANISM_NAME)
_TELLING: Final = re.compile(r"auth|key|token|secret|passw|credential|cookie|sig(?!n)|signature", re.IGNORECASE)
_CLASS_NAME: Final = type.__dict__["__name__"].__get__
"""What ``cls.__name__`` is where no metaclass has its hands in it."""
# Control characters of both sets but line feed and tab, what else breaks lines or turns the direction of writing over,
# and lone surrogates. A terminal acts on the first and shows the rest other than it was written.
_HARMFUL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_handler_name(name: str) -> bool:
    """Whether ``name`` may name a handler: ``[a-z][a-z0-9_-]{0,63}``, and not the organism's own name for itself."""
    return _HANDLER.fullmatch(name) is not None and name != ORGANISM


def names_nothing(name: str) -> bool:
    """Whether a name that somebody gave to an account, or at the terminal to a conversation, is empty, or blanks alone: as a rule a variable that
    was never set, and nobody could tell one such from another.
    """
    return not name.strip()


def tool_handler(agent: str, tool: str) -> str:
    """The name of the handler that an agent's tool is: ``AGENT.TOOL``."""
    return f"{agent}{TOOL}{tool}"


def is_of_limits(chain: str) -> bool:
    """Whether this is a chain that no threads are in: it tells how the limits of an account, or of the organism, were raised."""
    return chain == CHAIN_OF_CEILING or chain.startswith(ACCOUNT)


def chain_of_limits(node: str) -> str:
    """The chain that tells how the limits of a node were raised which many threads share; the organism's own has an empty name."""
    return node or CHAIN_OF_CEILING


def node_of_limits(chain: str) -> str:
    """The name of the node whose limits such a chain is of."""
    return "" if chain == CHAIN_OF_CEILING else chain


def is_within(thread: str, name: str) -> bool:
    """Whether a thread is the one of this name or below it, or in the conversation whose chain has this name."""
    return thread == name or thread.startswith(f"{name}.") or name.startswith(CONVERSATION)


def is_tool(handler: str) -> bool:
    """Whether a handler of this name is an agent's tool."""
    return TOOL in handler


def called_as(handler: str) -> str:
    """What a model calls a handler: a tool by its own name, a peer by the peer's."""
    return handler.rpartition(TOOL)[2]


def tool_for(name: str, payload: str) -> str:
    """What models call the tool that sends a payload of this class to ``name`` (a peer, the organism) or hands it in (``reply``),
    where one of that name alone would not say which class. What is too long for providers is cut, and told from others by a digest.
    """
    whole = f"{name}_{payload}"
    return whole if len(whole) <= LONGEST_TOOL else _with_digest(whole, whole)


def mcp_tool(server: str, tool: str) -> str:
    """What models call a tool of an MCP server: ``SERVER_TOOL``. What providers would not take of it is replaced or cut, and told from
    others by a digest.
    """
    whole = f"{server}_{tool}"
    taken = _UNTAKEN.sub("_", whole)
    return whole if taken == whole and len(whole) <= LONGEST_TOOL else _with_digest(taken, whole)


def _with_digest(text: str, whole: str) -> str:
    """The beginning of a text, with a digest of the ``whole`` that it stands for."""
    digest = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{text[: LONGEST_TOOL - _DIGITS - 1]}_{digest}"


def is_organism_name(name: str) -> bool:
    """Whether ``name`` may name an organism: ``[a-z][a-z0-9-]*``."""
    return _ORGANISM.fullmatch(name) is not None


def sounds_secret(name: str) -> bool:
    """Whether what a header, or a part of a query, is called says that its value is a secret."""
    return _TELLING.search(name) is not None


def class_name(value: object) -> str:
    """The name of a value's class, whatever the class itself says of it."""
    return str(_CLASS_NAME(type(value)))


def told(value: object, most: int = 80) -> str:
    """A value as it stands in a message: its ``repr``, cut as :func:`excerpt` does; its class where it has none that can be told."""
    try:
        return excerpt(repr(value), most)
    except Exception:  # noqa: BLE001 - it is somebody's value, and may raise anything
        return f"a value of type {class_name(value)}"


def excerpt(text: str, most: int, *, start: int = 0) -> str:
    """So many characters of a text, with :data:`MORE` at the ends where it is cut."""
    end = start + most
    return f"{MORE if start else ''}{text[start:end]}{MORE if end < len(text) else ''}"


def same_up_to(one: Sequence[object], other: Sequence[object]) -> int:
    """How many items two sequences begin with in common."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((number for number, (here, there) in pairs if here != there), min(len(one), len(other)))


def written_out(text: str) -> str:
    r"""The text with every character that a terminal would act on written out, as ``\x1b``; line feeds and tabs stay."""
    return _HARMFUL.sub(lambda found: found.group().encode("unicode_escape").decode("ascii"), text)


def counted(number: int, noun: str) -> str:
    """``1 thread``, ``1,200 threads``; nouns in ``y`` change."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"


def printable(text: str, *, at_most: int) -> str:
    """The beginning of a text in one line, with every character written out that is none to be seen."""
    cut = excerpt(text, at_most)
    if cut.isprintable():
        return cut
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode("ascii") for one in cut
    )


class Guesses:
    """How many names may still be compared with the wrong ones of one text: a text full of wrong names is read in bounded time.

    A comparison takes up to 0.1 ms.
    """

    def __init__(self, comparisons: int) -> None:
        self._left = comparisons

    def may_compare(self, names: int) -> bool:
        """Whether a wrong name may be compared with so many; it then counts as done."""
        if names > self._left:
            return False
        self._left -= names
        return True


def nearest(wrong: str, known: Iterable[str], guesses: Guesses | None = None) -> str | None:
    """The nearest of the known names, where one is near; ``None`` also where they are so many that programs must have made them, or
    no more ``guesses`` are left.
    """
    return next(iter(_near(wrong, known, 1, guesses)), None)


def suggestion(wrong: str, known: Iterable[str], guesses: Guesses | None = None, *, most: int = 1) -> str:
    """``"; did you mean 'x'?"`` for the :func:`nearest` of the known names, or for ``most`` of them; or nothing."""
    near = [f"'{each}'" for each in _near(wrong, known, most, guesses)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _near(wrong: str, known: Iterable[str], most: int, guesses: Guesses | None) -> list[str]:
    names = list(known)
    if len(names) > MOST_LOOKED_AT or not (guesses is None or guesses.may_compare(len(names))):
        return []
    return difflib.get_close_matches(wrong, names, n=most, cutoff=0.6)


def there_are(known: Sequence[str]) -> str:
    """``"; there are: a, b, c"``, or the first of them and how many more there are; nothing where there are none."""
    some, more = ", ".join(known[:_TOLD]), len(known) - _TOLD
    return f"; there are: {some}{f' and {more} more' if more > 0 else ''}" if known else ""


def not_installed(library: str | None, extra: str) -> str:
    """What is said of a library that is missing, and comes with an extra."""
    return f"needs '{library}', which is not installed; install organism with its extra '{extra}'"


def begun(text: str, known: Collection[str]) -> list[str]:
    """The known name that a text is, else those that begin with it."""
    return [text] if text in known else [each for each in known if text and each.startswith(text)]


def ambiguous(text: str, names: Sequence[str], what: str) -> str:
    """What is said of the beginning of several names; ``what`` are those that have them."""
    some = ", ".join(printable(each, at_most=_LONGEST) for each in names[:_SHOWN])
    more = f", {MORE}" if len(names) > _SHOWN else ""
    return (
        f"'{printable(text, at_most=_LONGEST)}' is the beginning of {len(names)} {what}: {some}{more}; write more of it"
    )


def successor_of(id_: str) -> str:
    """The name of the conversation that one goes on in: ``c-42~2`` after ``c-42``, ``c-42~3`` after that."""
    name, _, number = id_.rpartition("~")
    return f"{name}~{int(number) + 1}" if name and number.isdecimal() and number.isascii() else f"{id_}~2"
