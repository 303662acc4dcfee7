"""What anybody may have written, read by the code that has to bear it: one function each, of bytes.

A target raises nothing but AssertionError, where a law does not hold; any other exception is a bug too. Hypothesis runs them in the
suite, and atheris for as long as somebody lets it (``make fuzz``).
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import closing, contextmanager, suppress
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from organism import config, payload
from organism.agent.xml_reading import NotRepairedError, found_in, repaired
from organism.errors import ConfigurationError, InvalidPayloadError, JournalError
from organism.journal import open_journal
from organism.journal.chain import Head, canonical, seal, sealed_hash
from organism.journal.codec import content, decode
from organism.journal.filenames import file_name
from organism.journal.sqlite import SqliteJournal
from organism.journal.sqlite_file import long
from organism.journal.standing import Standing
from organism.journal.texts import LONGEST, root_mark
from organism.models.recordings.playback import Tape
from organism.models.recordings.takes import HEAD
from organism.payloads import Vocabulary, encode_json, encode_xml, parse_json
from organism.server import chat, messages
from organism.server.refusals import Refusal, document_of
from organism.works.control.orders import Order
from tests.journal.fact_values import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from organism.record.facts import Fact

ROOT: Final = "r"
_LONGEST_WORD: Final = 10_000
"""Characters that an error may have, whatever it is about."""


@payload
class Leaf:
    """Something of every kind."""

    text: str
    number: int = 0
    amount: Decimal = Decimal(0)
    share: float = 0.0
    data: bytes = b""
    names: dict[str, str | None] | None = None


@payload
class Tree:
    """Leaves, and trees."""

    text: str
    leaves: list[Leaf]
    either: "Leaf | Tree | None" = None


TREES: Final = Vocabulary([Tree])


def xml_document(data: bytes) -> None:
    """A document from outside: what is read is written, and read again as the same."""
    _read(lambda: TREES.decode_xml(data))
    with suppress(UnicodeDecodeError):
        text = data.decode()
        _read(lambda: TREES.decode_xml(text))


def json_document(data: bytes) -> None:
    """The same in JSON, as it is typed, sent or given as the arguments of a tool."""
    _read(lambda: TREES.decode_json(parse_json(data)))
    with suppress(UnicodeDecodeError):
        text = data.decode()
        _read(lambda: TREES.decode_text(text, [Tree, Leaf]))


def _read(make: Callable[[], Any]) -> None:
    try:
        value = make()
    except InvalidPayloadError as error:
        _ends(error)
        return
    assert TREES.decode_xml(encode_xml(value)) == value
    assert TREES.decode_json(json.loads(json.dumps(encode_json(value)))) == value


def _ends(error: Exception) -> None:
    assert len(str(error)) < _LONGEST_WORD, "an error has no end"


def free_text(data: bytes) -> None:
    """What a model wrote: elements are found in their order, and a repaired one needs no repair."""
    text = data.decode("utf-8", "replace")
    at = 0
    for found in found_in(text, {"Tree", "Leaf", "BudgetGranted"}.__contains__):
        at = text.index(found.text, at) + len(found.text)
        try:
            document = repaired(found)
        except NotRepairedError as error:
            _ends(error)
            continue
        _read(partial(TREES.decode_xml, document))
        (again,) = found_in(document, found.name.__eq__)
        assert repaired(again) == document


def configuration(data: bytes) -> None:
    """An organism.yaml: settings, or mistakes that are each a line with its place."""
    with _folder() as folder:
        path = folder / "organism.yaml"
        path.write_bytes(data)
        try:
            found = config.load(path)
        except ConfigurationError as error:
            _are_lines(error)
            return
        assert found.name


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of one's own, in memory where there is such a place."""
    memory = Path("/dev/shm")  # noqa: S108 - where it is there, no disk is worn out
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def _are_lines(error: ConfigurationError) -> None:
    assert error.mistakes
    for line in error.mistakes:
        assert line.isprintable(), line
        assert len(line) < _LONGEST_WORD, "a mistake has no end"


def journal_entry(data: bytes) -> None:
    """What a chain holds of a fact, where somebody has made its hash fit: a fact that can be written again, or an error."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    for words in (None, WORDS):
        try:
            fact = decode(document, words)
        except JournalError as error:
            _ends(error)
            continue
        _is_kept(fact, words)


def _is_kept(fact: Fact, words: Vocabulary | None) -> None:
    Standing(ROOT).apply(fact)
    try:
        raw = content(fact, ROOT)
    except JournalError:  # a payload that was nested too deep to be written, say
        return
    again = decode(json.loads(raw), words)
    # Not the facts: what is no number is not the same as itself.
    assert content(again, ROOT) == raw


def journal_lines(data: bytes) -> None:
    """A file of a folder of JSON lines: all of it is sound, or its first bad line is told."""
    with _folder() as folder:
        (folder / file_name(ROOT)).write_bytes(data)
        _is_read("jsonl:.", folder)


def sealed_lines(data: bytes) -> None:
    """The same, with the hashes that the lines need: what only their writer could have seen."""
    head, lines = Head(), b""
    for line in data.splitlines():
        if not line.endswith(b"}"):
            continue
        sealed, head = seal(line, head)
        lines += sealed + b"\n"
    journal_lines(lines)


def _is_read(url: str, folder: Path) -> None:
    journal = open_journal(url, folder=folder, readonly=True)
    try:
        for ask in (journal.chains, journal.spendings, lambda: journal.read(ROOT), lambda: journal.recall(ROOT)):
            with suppress(JournalError):
                ask()
        with suppress(JournalError):
            for document in journal.documents(ROOT):
                assert canonical(document)
        problem = journal.verify(ROOT)
        assert problem is None or len(problem) < _LONGEST_WORD, "an error has no end"
    finally:
        journal.close()


def sqlite_chain(data: bytes) -> None:
    """A SQLite journal whose rows somebody has written, with the hashes that they need."""
    with _folder() as folder:
        path = folder / "organism.db"
        path.write_bytes(_empty_journal())
        with closing(sqlite3.connect(path)) as db:
            head, number = Head(), 0
            for number, body in enumerate(data.splitlines(), 1):
                sealed = sealed_hash(long(body, root_mark(ROOT)), number, head.hash)
                head = Head(number, sealed.hex())
                db.execute("INSERT INTO entries VALUES (NULL, 1, ?, ?, ?)", [number, sealed, body])
            last = bytes.fromhex(head.hash or "")
            db.execute(
                "INSERT INTO chains VALUES (1, ?, 0, ?, 9, 0.0, 0.0, ?, 0, 0, 0, NULL)", [ROOT.encode(), number, last]
            )
            db.commit()
        _is_read("sqlite:organism.db", folder)


@cache
def _empty_journal() -> bytes:
    with _folder() as folder:
        SqliteJournal(folder / "organism.db").close()
        return (folder / "organism.db").read_bytes()


def sqlite_body(data: bytes) -> None:
    """A shortened entry of a SQLite journal: nothing in it comes to more than an entry may have."""
    assert len(long(data, root_mark(ROOT))) <= max(LONGEST, len(data))


def recording(data: bytes) -> None:
    """A recording: it is played, or its first damaged line is told."""
    with _folder() as folder:
        path = folder / "calls.jsonl"
        path.write_bytes(HEAD + data)
        try:
            tape = Tape.of(path)
        except ConfigurationError as error:
            _are_lines(error)
            return
        for key in tape.takes:
            tape.next(key, 100, streamed=True)


def order(data: bytes) -> None:
    """A line on the control socket."""
    with suppress(ConfigurationError):
        Order.of_line(data).as_line()


def request(data: bytes) -> None:
    """The body of a request to a server of ours, in either protocol."""
    for protocol in (chat, messages):
        with suppress(Refusal):
            protocol.request_of(document_of(data))


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each
    for each in (
        xml_document, json_document, free_text, configuration, journal_entry, journal_lines, sealed_lines, sqlite_chain, sqlite_body,
        recording, order, request,
    )
}  # fmt: skip
"""Every target by its name."""
