"""Threads that leave a journal, come into one, and are removed."""

from __future__ import annotations

import io
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from organism.cli.main import execute
from organism.cli.streams import Streams
from organism.journal import open_journal
from organism.journal.chain import Head, canonical, content_of, seal
from tests.cli.journal_world import URLS, record, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Desk


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.write("organism.yaml", "organism: demo\njournal: sqlite:organism.db\n")
    written(desk.folder, "sqlite:organism.db")
    return desk


@pytest.mark.parametrize("url", ["sqlite:other.db", "jsonl:other"])
@pytest.mark.parametrize("source", URLS)
def test_what_was_exported_is_imported_without_loss(desk: Desk, source: str, url: str) -> None:
    if source != URLS[0]:
        written(desk.folder, source)
    out = desk.organism("export", "--journal", source)
    assert (out.code, out.err) == (0, f"exported: 3 threads with {len(record().facts)} entries\n")
    desk.write("all.jsonl", out.out)
    ran = desk.organism("import", "all.jsonl", "--journal", url)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"imported: 3 threads with {len(record().facts)} entries\n"
    assert desk.organism("export", "--journal", url).out == out.out
    for command in (("threads",), ("threads", "--json"), ("show", "apple", "--full"), ("usage",), ("verify",)):
        here, there = (desk.organism(*command, "--journal", one) for one in (source, url))
        assert (here.code, here.out) == (there.code, there.out)


def test_single_threads_are_exported_each_once(desk: Desk) -> None:
    ran = desk.organism("export", "berry", "apr", "berry")
    roots = [json.loads(line)["root"] for line in ran.out.splitlines()]
    assert list(dict.fromkeys(roots)) == ["berry", "apricot"]
    assert ran.err.startswith("exported: 2 threads with ")


def test_an_import_may_come_from_standard_input(desk: Desk) -> None:
    lines = desk.organism("export", "apricot").out
    ran = desk.organism("import", "-", "--journal", "sqlite:other.db", stdin=lines)
    assert (ran.code, ran.out.split()[:3]) == (0, ["imported:", "1", "thread"])


def test_an_import_may_come_from_a_pipe_with_a_name(desk: Desk) -> None:
    lines = desk.organism("export", "apricot").out
    reading, writing = os.pipe()
    with open(reading), open(writing, "w", encoding="utf-8") as pipe:  # noqa: PTH123 - they are descriptors
        pipe.write(lines)
        pipe.close()
        ran = desk.organism("import", f"/dev/fd/{reading}", "--journal", "sqlite:other.db")
    assert (ran.code, ran.out.split()[:3]) == (0, ["imported:", "1", "thread"])


def test_what_is_there_already_is_passed_over(desk: Desk) -> None:
    desk.write("all.jsonl", desk.organism("export").out)
    ran = desk.organism("import", "all.jsonl")
    assert (ran.code, ran.out) == (0, "imported: 0 threads with 0 entries; 3 threads are there already\n")


def test_nothing_is_imported_over_a_thread_with_other_entries(desk: Desk) -> None:
    lines = desk.organism("export", "apricot", "apple").out.splitlines(keepends=True)
    desk.write("some.jsonl", "".join(lines))
    written(desk.folder, "sqlite:other.db", [pair for pair in record().facts if pair[0] == "apple"][:2])
    ran = desk.organism("import", "some.jsonl", "--journal", "sqlite:other.db")
    said = "some.jsonl: thread apple is there already, with 2 entries of its own; nothing was imported\n"
    assert (ran.code, ran.out, ran.err) == (2, "", said)
    assert len(desk.organism("threads", "--json", "--journal", "sqlite:other.db").objects) == 1


@pytest.mark.parametrize("url", URLS)
def test_what_has_gone_on_since_it_was_imported_is_passed_over(desk: Desk, url: str) -> None:
    desk.write("all.jsonl", desk.organism("export").out)
    at = ("--journal", url.replace("organism", "other").replace("journal", "other"))
    assert desk.organism("import", "all.jsonl", *at).code == 0
    assert desk.organism("cancel", "berry", *at).code == 0
    before = desk.organism("export", *at).out
    ran = desk.organism("import", "all.jsonl", *at)
    assert (ran.code, ran.out) == (0, "imported: 0 threads with 0 entries; 3 threads are there already\n")
    assert desk.organism("export", *at).out == before


def sealed(lines: list[str], change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> list[str]:
    """The chain with other entries, as another version might have written it: all hashes are sound."""
    head = Head(0, None)
    made: list[str] = []
    for line in lines:
        raw, head = seal(canonical(change(content_of(json.loads(line)))), head)
        made.append(f"{raw.decode()}\n")
    return made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[1:], "thread 'apricot': entry 1: has number 2 where 1 is expected"),
        (lambda lines: [lines[0].replace("sleeper", "slipper"), *lines[1:]], "entry 1: was changed"),
        (lambda lines: [*lines, "{\n"], "all.jsonl:{n}: is not JSON"),
        (lambda lines: [*lines, '{"n": 1}\n'], "all.jsonl:{n}: is not an entry of a journal"),
        (lambda lines: [*lines, lines[0][:99]], ")): the file was cut short; export it again, whole; nothing was"),
        (lambda lines: [*lines, lines[0].replace("x", "x")], "all.jsonl: thread 'apricot': entry"),
        (
            lambda lines: sealed(lines, lambda entry: {**entry, "fact": "Nope"}),
            "all.jsonl: thread 'apricot', entry 1: there is no fact 'Nope' in this format",
        ),
        (
            lambda lines: sealed(lines, lambda entry: {**entry, "format": 3}),
            "all.jsonl: thread 'apricot', entry 1: was written by a newer version of organism",
        ),
        (lambda lines: sealed(lines[1:]), "all.jsonl: thread 'apricot': entry 1, Stopped: opens neither a thread nor"),
    ],
)
def test_of_a_damaged_file_nothing_is_imported(desk: Desk, change: object, said: str) -> None:
    assert callable(change)
    lines = desk.organism("export", "apricot").out.splitlines(keepends=True)
    changed = "".join(change(lines))
    desk.write("all.jsonl", changed)
    ran = desk.organism("import", "all.jsonl", "--journal", "sqlite:other.db")
    assert (ran.code, ran.out) == (5, "")
    assert said.format(n=len(lines) + 1) in ran.err
    assert ran.err.endswith("nothing was imported\n")
    assert (ran.err.count("all.jsonl:"), ran.err.count("nothing was imported")) == (said.count("all.jsonl:") or 1, 1)
    assert not list(desk.folder.glob("other.db*"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("milk\nbread\n", "list:1: is not JSON (Expecting value: line 1 column 1 (char 0)); nothing was imported\n"),
        ('{"n": 1}\n', "list:1: is not an entry of a journal; nothing was imported\n"),
    ],
)
def test_what_is_no_export_is_a_wrong_command_line_and_no_damage(desk: Desk, text: str, said: str) -> None:
    desk.write("list", text)
    ran = desk.organism("import", "list", "--journal", "sqlite:other.db")
    assert (ran.code, ran.out, ran.err) == (2, "", said)
    assert not list(desk.folder.glob("other.db*"))


def test_standard_input_that_is_no_text_is_no_export_either(desk: Desk) -> None:
    out, err = io.StringIO(), io.StringIO()
    given = io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n"), "utf-8")
    assert execute(["import", "-", "--journal", "sqlite:other.db"], Streams(out=out, err=err, input=given)) == 2
    assert err.getvalue() == "-:1: is not JSON (Expecting value: line 1 column 1 (char 0)); nothing was imported\n"


def test_a_file_to_import_that_is_not_there_is_said(desk: Desk) -> None:
    ran = desk.organism("import", "none.jsonl")
    assert (ran.code, ran.err) == (2, "none.jsonl: cannot be read: No such file or directory\n")


# prune


def roots(desk: Desk) -> list[str]:
    journal = open_journal("sqlite:organism.db", folder=desk.folder, readonly=True)
    found = [chain.root for chain in journal.chains()]
    journal.close()
    return found


def test_old_threads_are_removed_and_what_they_spent_stays(desk: Desk) -> None:
    spent = desk.organism("usage").out
    ran = desk.organism("prune", "--before", "2026-05-28T21:00")
    assert (ran.code, ran.err) == (0, "")
    _, _, row, summary = ran.out.splitlines()
    assert row.split()[:3] == ["apple", "2026-05-28", "20:26:41"]
    assert summary.startswith("removed 1 thread of ")
    assert " 2 threads of " in summary
    assert roots(desk) == ["apricot", "berry"]
    assert desk.organism("usage").out == spent
    rest = desk.organism("usage", "--by", "thread").out.splitlines()[-2]
    assert rest.split()[-5:] == ["1", "100", "50", "0.0002", "3"]
    assert rest.startswith("(removed, damaged, or after the end)")


@pytest.mark.parametrize("url", URLS)
def test_what_was_removed_and_is_imported_again_stays_and_has_spent_once(desk: Desk, url: str) -> None:
    if url != URLS[0]:
        written(desk.folder, url)
    at = ("--journal", url)
    desk.write("all.jsonl", desk.organism("export", *at).out)
    before = [desk.organism(command, *at).out for command in ("usage", "threads", "verify")]
    assert "not exported" not in desk.organism("export", *at).err
    for _ in range(2):
        assert "removed 2 threads of " in desk.organism("prune", "--before", "2100-01-01", *at).out
        _, note = desk.organism("export", *at).err.splitlines()
        assert note == "note: not exported: what removed threads have spent; a copy of the journal itself has all"
        assert desk.organism("import", "all.jsonl", *at).out.startswith("imported: 2 threads with ")
        # Whoever opens a journal to write finishes the removals that were cut short; this was none.
        assert desk.organism("prune", "--before", "2000-01-01", *at).out.startswith("removed 0 threads of ")
        assert [desk.organism(command, *at).out for command in ("usage", "threads", "verify")] == before


@pytest.mark.parametrize("url", URLS)
def test_what_a_newer_version_wrote_is_not_removed(desk: Desk, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if url != URLS[0]:
        written(desk.folder, url)
    before = [desk.organism(command, "--journal", url).out for command in ("verify", "usage", "threads")]
    with monkeypatch.context() as older:
        older.setattr("organism.journal.codec.FORMAT", 1)
        ran = desk.organism("prune", "--before", "2100-01-01", "--journal", url)
    assert (ran.code, ran.out) == (5, "")
    assert "was written by a newer version of organism (format 2, and this one has 1); use that one" in ran.err
    assert [desk.organism(command, "--journal", url).out for command in ("verify", "usage", "threads")] == before


def test_a_thread_that_has_not_ended_is_never_removed(desk: Desk) -> None:
    ran = desk.organism("prune", "--before", "2100-01-01", "--keep-size", "0")
    assert ran.out.splitlines()[-1].startswith("removed 2 threads of ")
    assert roots(desk) == ["berry"]


def test_a_journal_that_is_not_there_is_not_made_to_remove_from_it(desk: Desk) -> None:
    for journal in ("sqlite:typo.db", "jsonl:typo"):
        ran = desk.organism("prune", "--before", "30d", "--journal", journal)
        assert (ran.code, ran.out) == (2, "")
        assert "does not exist yet" in ran.err
    assert not list(desk.folder.glob("typo*"))


def test_a_dry_run_removes_nothing(desk: Desk) -> None:
    ran = desk.organism("prune", "--keep-size", "0B", "--dry-run")
    assert ran.out.splitlines()[-1].startswith("would remove 2 threads of ")
    assert roots(desk) == ["apple", "apricot", "berry"]


def test_the_oldest_go_until_the_rest_is_small_enough(desk: Desk) -> None:
    assert desk.organism("prune", "--keep-size", "100 MB").out.startswith("removed 0 threads of 0 B; 3 threads of ")
    journal = open_journal("sqlite:organism.db", folder=desk.folder, readonly=True)
    room = sum(chain.size for chain in journal.chains()) - 1
    journal.close()
    desk.organism("prune", "--keep-size", str(room))
    assert roots(desk) == ["apricot", "berry"]


def test_threads_go_by_their_age(desk: Desk) -> None:
    assert desk.organism("prune", "--before", "9999d").out.startswith("removed 0 threads of ")


def test_what_may_not_go_is_said_where_it_is_too_large(desk: Desk) -> None:
    written(
        desk.folder,
        "sqlite:organism.db",
        [("conversation:c", fact) for root, fact in record().facts if root != "berry"],
    )
    ran = desk.organism("prune", "--keep-size", "1B")
    assert ran.out.splitlines()[-1].startswith("removed 2 threads of ")
    why = "conversations, which go by --before alone: 1; threads that have not ended: 1"
    assert ran.err == f"note: what stays takes more than 1 B; it holds {why}\n"
    assert desk.organism("prune", "--keep-size", "1MB").err == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "organism prune: say which threads: --before DATE, or --keep-size SIZE\n"),
        (
            ("--before", "soon"),
            "--before soon: is not a date; write it as in 2026-11-01 or 2026-11-01T12:00, or an age as in 30d or 12h\n",
        ),
        (("--keep-size", "much"), "--keep-size much: is not a size; write it as in 100MB\n"),
    ],
)
def test_what_to_prune_must_be_said(desk: Desk, arguments: tuple[str, ...], said: str) -> None:
    ran = desk.organism("prune", *arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", said)
