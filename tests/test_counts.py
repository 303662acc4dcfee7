"""What is counted in a message is counted in words that fit: ``1 fact``, ``1,200 facts`` (:func:`organism.names.counted`).

Every f-string and every line for a log is looked at: a number with a plural behind it is one that was never thought of as 1.
"""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from organism.names import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGE: Final = Path(__file__).parents[1] / "organism"
NOUNS: Final = (
    "accounts", "answers", "attempts", "backends", "budgets", "bytes", "calls", "characters", "conversations", "deliveries", "digits",
    "elements", "entries", "events", "facts", "failures", "handlers", "items", "journals", "keys", "levels", "lines", "messages", "problems",
    "questions", "records", "replies", "requests", "results", "sub-threads", "sums", "tags", "threads", "times", "tokens", "turns", "values",
    "warnings",
)  # fmt: skip
"""What is counted here."""
PLURAL: Final = re.compile(rf" ((?:(?!of|in|by|for|stands)[a-z]+ ){{0,2}}?(?:{'|'.join(NOUNS)}))\b(?! of \{{)")
CONSTANT: Final = re.compile(r"(\w+\.)?_?[A-Z][A-Z_]*")
LOGGED: Final = re.compile(r"%d" + PLURAL.pattern)

NEVER_ONE: Final[Mapping[str, str]] = {
    "agent/allowance.py {most} times": "once is said otherwise",
    "agent/asking.py {self._cut} times": "it is given up at the third",
    "agent/compaction.py {said_by(largest)} characters": "the largest of a prompt that is too long",
    "agent/compaction.py {window} tokens": "a window of 256 tokens is the smallest",
    "agent/cutting.py {len(raw)} bytes": "it says how many of those are left out",
    "agent/history.py {len(text)} characters": "a text that was too long",
    "agent/pruning.py {length} characters": "a result that was too long",
    "agent/summary.py {len(text)} characters": "a text that was too long",
    "agent/summary.py {failures} times": "it is given up after several",
    "cli/budget_warnings.py {warning.used} times": "what came once is not repeated",
    "cli/check.py {policy.attempts} attempts": "a single attempt is said otherwise",
    "cli/log_lines.py {len(said)} characters": "a text that was too long",
    "cli/models.py {row.context_window} tokens": "a window of 256 tokens is the smallest",
    "cli/phrases.py {done.longest} characters": "texts are never cut so short",
    "cli/phrases.py {done.tokens_after} tokens": "a prompt has more",
    "cli/report.py {len(results)} threads": "a sum of one is not shown",
    "cli/running.py {kinds.count(kind)} times": "once is right",
    "cli/story/story.py {len(state)} values": "a few are named",
    "config/loops.py {loops.repeats} equal messages": "two are the least",
    "config/prompts.py {size} bytes": "a file that is too long",
    "errors.py {often} attempts": "a single attempt is said otherwise",
    "journal/check.py {size} bytes": "it is told to who writes a journal",
    "journal/codec.py {len(raw)} bytes": "an entry that is too long",
    "journal/codec.py {told(lost)} facts": "a single one is said otherwise",
    "journal/session_log.py {self._room} facts": "there is room for more",
    "kernel/answers.py {answers} times": "once is right",
    "journal/endings.py {len(form)} values": "of a row, and rows have many",
    "kernel/loops.py {loops.within} messages": "two are the least",
    "kernel/loops.py {repeated.times} times": "what came once is not repeated",
    "kernel/notices.py {_plain(warned.used)} times": "what came once is not repeated",
    "kernel/retries.py {tries} attempts": "a single attempt is said otherwise",
    "mcp/connection.py {len(text)} characters": "a text that was too long",
    "mcp/connection.py {size} characters": "a definition that is too long",
    "models/routing/circuit_breaker.py {self._failures} failures": "one does not open it",
    "models/simulation/backend.py {tokens} tokens": "a prompt that is too long",
    "models/transport/body.py {self._most} bytes": "answers may have many",
    "payloads/faults.py {len(first)} problems": "a single one is told by itself",
    "payloads/vocabulary.py {self._limits.size} bytes": "documents may have many",
    "payloads/xml_faults.py {len(children)} elements": "one is right",
    "payloads/xml_tree.py {limits.text} characters": "texts may have many",
    "payloads/xml_tree.py {self._limits.size} bytes": "documents may have many",
    "pump/failures.py {len(said)} characters": "a text that was too long",
    "threads/restart.py %d times": "it is left alone after several",
    "threads/restart.py {self.failures} times": "it is left alone after several",
    "works/control/orders.py {len(line)} bytes": "an order that is too long",
}
"""Counts that are never 1, each with the reason. One that is not needed any more fails the test."""
NOT_COUNTED: Final = re.compile(
    r"role|who|sender|.*(_handler|_asker)\(.*|takes|shown\(.*|where|said\[.*|told\(due.*|name"
)
"""What stands before a verb that is spelled as a noun: 'desk answers'."""


def counts(source: str, file: str) -> Iterator[str]:
    """The numbers in a module's texts that have a plural behind them."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.JoinedStr(values=values):
                for value, text in itertools.pairwise(values):
                    match value, text:
                        case ast.FormattedValue(value=shown), ast.Constant(value=str(behind)):
                            plural, said = PLURAL.match(behind), ast.unparse(shown)
                            if plural and not CONSTANT.fullmatch(said) and not NOT_COUNTED.fullmatch(said):
                                yield f"{file} {{{said}}} {plural[1]}"
            case ast.Constant(value=str(text)):
                yield from (f"{file} %d {plural}" for plural in LOGGED.findall(text))
            case _:
                pass


@pytest.fixture(scope="module")
def found() -> set[str]:
    return {
        one
        for path in sorted(PACKAGE.rglob("*.py"))
        for one in counts(path.read_text("utf-8"), path.relative_to(PACKAGE).as_posix())
    }


def test_whatever_may_be_one_is_counted_in_words_that_fit(found: set[str]) -> None:
    assert sorted(found - {*NEVER_ONE}) == [], "count it with organism.names.counted"


def test_no_exception_is_left_over(found: set[str]) -> None:
    assert sorted({*NEVER_ONE} - found) == []


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ('f"{len(a)} facts are missing"', ["m {len(a)} facts"]),
        ('f"the first {n} entries"', ["m {n} entries"]),
        ('f"{n:,} more threads"', ["m {n} more threads"]),
        ('log("%d facts are missing")', ["m %d facts"]),
        ("f\"{counted(n, 'fact')} of many\"", []),
        ('f"{_MOST} facts"', []),
        ('f"{sender} answers {to}"', []),
    ],
)
def test_a_plural_behind_a_number_is_seen(source: str, seen: list[str]) -> None:
    assert list(counts(source, "m")) == seen


def test_what_is_counted() -> None:
    assert [counted(number, "entry") for number in (0, 1, 2, 1200)] == [
        "0 entries",
        "1 entry",
        "2 entries",
        "1,200 entries",
    ]
