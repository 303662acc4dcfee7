"""Which journal a URL means, and what is said of one that means none."""

from __future__ import annotations

from pathlib import Path

import pytest

from organism.errors import JournalError
from organism.journal import LinesJournal, MemoryJournal, SqliteJournal, open_journal, place_of


def test_a_url_names_a_journal(tmp_path: Path) -> None:
    assert isinstance(open_journal("memory:"), MemoryJournal)
    made = open_journal("sqlite:a b/x#?.db", folder=tmp_path)
    assert isinstance(made, SqliteJournal)
    assert made.path == tmp_path / "a b" / "x#?.db"
    made.close()
    open_journal("sqlite:a b/x#?.db", folder=tmp_path, readonly=True).close()
    lines = open_journal("jsonl:log", folder=tmp_path)
    assert isinstance(lines, LinesJournal)
    assert lines.folder == tmp_path / "log"
    assert place_of(f"sqlite:{tmp_path}/x.db", folder=Path("/elsewhere")) == tmp_path / "x.db"
    assert place_of("sqlite:x.db") == Path("x.db")
    assert place_of("memory:") is None


@pytest.mark.parametrize(
    "url", ["", "memory", "memory:x", "sqlite", "sqlite:", "jsonl:", "postgres:x", "x.db", "jsonl:a\0"]
)
def test_what_names_none_is_refused(url: str) -> None:
    with pytest.raises(JournalError, match="is not a journal: use memory:, sqlite:PATH or jsonl:DIR"):
        open_journal(url)
