"""Which journal a command means, and what is said of one that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from organism.journal import Lock
from tests.cli.journal_world import URLS, written

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

READING = (
    ("threads",),
    ("show", "apple"),
    ("log", "apple"),
    ("usage",),
    ("verify",),
    ("export",),
    ("prune", "--keep-size", "0", "--dry-run"),
)


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_what_cannot_be_read_is_said_in_a_line(desk: Desk, command: tuple[str, ...]) -> None:
    for journal, said in (
        ("memory:", "--journal: journal 'memory:' ends with its process, so there is nothing to read"),
        (
            "sqlite:none.db",
            "--journal: journal 'sqlite:none.db' does not exist yet: none.db is missing; 'organism run' creates it\n",
        ),
        (
            "postgres:x\x1b",
            "--journal: 'postgres:x\\x1b' is not a journal that lasts; use 'sqlite:PATH' or 'jsonl:DIR'",
        ),
        ("sqlite:", "--journal: 'sqlite:' is not a journal that lasts; use 'sqlite:PATH' or 'jsonl:DIR'"),
    ):
        ran = desk.organism(*command, "--journal", journal)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith(said)
        assert ran.err.count("\n") == 1


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_what_is_no_journal_of_ours_is_damage(desk: Desk, command: tuple[str, ...]) -> None:
    desk.write("other.db", "this is not a database" * 300)
    ran = desk.organism(*command, "--journal", "sqlite:other.db")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.startswith("error: other.db")
    assert ran.err.count("\n") == 1
    desk.write("other/notes.txt", "this is not a thread")
    ran = desk.organism(*command, "--journal", "jsonl:other")
    assert (ran.code, ran.out) == (5, "")
    assert ran.err.startswith("error: other holds no journal: neither _index.jsonl nor a file of a thread")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("command", [("run", "--quiet"), ("import", "kept.jsonl")], ids=lambda command: command[0])
def test_what_cannot_be_owned_stays_alone(desk: Desk, command: tuple[str, ...]) -> None:
    written(desk.folder, "jsonl:journal")
    desk.write("kept.jsonl", desk.organism("export", "--journal", "jsonl:journal").out)
    desk.write("other.db", "this is not a database" * 300)
    before = sorted(desk.folder.glob("*.*"))
    ran = desk.organism(*command, "--journal", "sqlite:other.db")
    assert ran.code == 5
    assert ran.err.endswith("error: other.db is not a SQLite database\n")
    assert sorted(desk.folder.glob("*.*")) == before


def test_a_folder_that_was_owned_and_not_written_to_is_a_journal(desk: Desk) -> None:
    (desk.folder / "new").mkdir()
    assert desk.organism("verify", "--journal", "jsonl:new").code == 5
    lock = Lock(desk.folder / "new", {"pid": "7"})
    lock.take()
    lock.release()
    ran = desk.organism("verify", "--journal", "jsonl:new")
    assert (ran.code, ran.out) == (0, "sound: 0 threads with 0 entries\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("organism: demo\n", "organism.yaml: journal 'memory:' ends with its process"),
        (
            "organism: demo\njournal: 'sqlite:none.db'\n",
            "organism.yaml: journal 'sqlite:none.db' does not exist yet",
        ),
        ("a: [\n", "organism.yaml:2:1: "),
        ("a: \x00\n", "organism.yaml"),
        ("[1, 2]\n", "organism.yaml: journal 'memory:' ends"),
    ],
)
def test_the_file_says_which_journal_is_meant(desk: Desk, text: str, said: str) -> None:
    desk.write("organism.yaml", text)
    ran = desk.organism("threads")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(said)
    assert ran.err.count("\n") == 1


def test_a_file_that_is_not_there_is_said(desk: Desk) -> None:
    (desk.folder / "organism.yaml").unlink()
    ran = desk.organism("threads")
    said = "organism.yaml: there is no such file: name the organism's file with --file, or its journal with --journal\n"
    assert (ran.code, ran.out, ran.err) == (2, "", said)
    ran = desk.organism("resume", "other.yaml")
    assert (ran.code, ran.err) == (
        2,
        "other.yaml: there is no such file: name another one, or a journal with --journal\n",
    )
    ran = desk.organism("threads", "--file", str(desk.folder))
    assert (ran.code, ran.err) == (
        2, f"{desk.folder}: is a folder: name the file in it, as in {desk.folder}/organism.yaml\n"
    )  # fmt: skip


def test_paths_are_relative_to_the_file(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    (desk.folder / "sub").mkdir()
    desk.write("sub/organism.yaml", "organism: demo\njournal: sqlite:here.db\n")
    written(desk.folder / "sub", "sqlite:here.db")
    for arguments in (
        ("--file", "sub/organism.yaml"),
        ("--file", "sub/organism.yaml", "--journal", "sqlite:here.db"),
        ("--journal", "sqlite:sub/here.db"),
        ("--journal", f"sqlite:{desk.folder}/sub/here.db"),
    ):
        assert desk.organism("threads", *arguments).code == 0
    monkeypatch.setenv("ORGANISM_JOURNAL", "sqlite:sub/here.db")
    assert desk.organism("threads").code == 0
    assert desk.organism("threads", "--journal", "sqlite:none.db").code == 2


@pytest.mark.parametrize("url", URLS)
def test_a_journal_that_a_process_works_on_is_read_and_not_changed(desk: Desk, url: str) -> None:
    written(desk.folder, url)
    lines = desk.organism("export", "--journal", url).out
    lock = Lock(desk.folder / url.partition(":")[2], {"pid": "7", "host": "mars", "organism": "demo"})
    lock.take()
    assert desk.organism("threads", "--journal", url).out.splitlines()[-1].split()[1] == "running"
    for command in (("prune", "--keep-size", "0"), ("import", "-")):
        ran = desk.organism(*command, "--journal", url, stdin=lines)
        assert (ran.code, ran.out) == (5, "")
        assert "is held by process 7 on mars (organism demo)" in ran.err
    assert desk.organism("prune", "--keep-size", "0", "--dry-run", "--journal", url).code == 0
    lock.release()
    assert desk.organism("threads", "--journal", url).out.splitlines()[-1].split()[1] == "unfinished"
    assert desk.organism("prune", "--keep-size", "0", "--journal", url).code == 0


def test_reading_loads_neither_providers_nor_templates_nor_an_event_loop(desk: Desk) -> None:
    written(desk.folder, URLS[0])
    code = (
        "import sys; from organism.cli import main; sys.argv = ['organism', *sys.argv[1:], '--journal', 'sqlite:organism.db']\n"
        "heavy = {'trio', 'asyncio', 'anthropic', 'openai', 'rich', 'lxml', 'jinja2', 'genai_prices'}\n"
        "try: main.main()\n"
        "except SystemExit as end: print(end.code, *sorted(heavy & set(sys.modules)))"
    )
    desk.write("loads.py", code)
    for command in (("threads",), ("show", "apple"), ("usage",)):
        ran = desk.process(*command, program=["loads.py"])
        assert ran.out.splitlines()[-1] == "0", ran.err
