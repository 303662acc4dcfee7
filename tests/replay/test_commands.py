"""``organism replay`` and ``organism fork``, as they are typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import Desk, desk  # noqa: F401, TC001 - the fixture  # pyright: ignore[reportUnusedImport]

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = """
    organism: demo
    journal: sqlite:organism.db
    budget: {tokens: 2000}
    handlers:
      shouter: {code: work:shout}
      boss: {code: work:boss, peers: [shouter]}
      spender: {code: work:spend}
    start:
      - {to: boss, payload: {Job: {text: ada, times: 2}}}
"""


@pytest.fixture
def ran(desk: Desk) -> Iterator[tuple[Desk, str]]:  # noqa: F811 - the fixture
    desk.write("organism.yaml", FILE)
    done = desk.organism("run", "--json")
    assert done.code == 0
    yield desk, done.object["thread"]
    desk.forget()


def test_a_replay_says_that_nothing_has_changed(ran: tuple[Desk, str]) -> None:
    at, thread = ran
    done = at.organism("replay", thread)
    assert (done.code, done.out) == (0, "the same: 3 deliveries and 0 model calls compared\n")
    assert at.organism("replay", thread[:6], "organism.yaml").code == 0
    assert at.organism("replay", thread, "--journal", "sqlite:organism.db").code == 0


def test_a_replay_shows_the_first_difference(ran: tuple[Desk, str]) -> None:
    at, thread = ran
    work = (at.folder / "work.py").read_text()
    (at.folder / "work.py").write_text(
        work.replace("job.text.upper()", "str(job.text).title()")
    )  # of another length: else an old .pyc may do
    at.forget()
    done = at.organism("replay", thread)
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0].startswith("different: 2 deliveries of 3 deliveries and 0 model calls compared; the first:")
    assert lines[1].startswith("'shouter' (entry ")
    assert "ADA" in lines[2]
    assert "Ada" in lines[3]


def test_a_replay_needs_no_key_as_it_calls_no_model(desk: Desk) -> None:  # noqa: F811 - the fixture
    desk.write("organism.yaml", FILE)
    thread = desk.organism("run", "--to", "spender", "--send", '{"Job": {"text": "ada"}}', "--json").object["thread"]
    model = "{provider: openai, model: nobody-knows-it, api_key_env: NO_SUCH_KEY}"
    desk.write("organism.yaml", FILE + f"    models:\n      default:\n        backends: [{model}]\n")
    assert desk.organism("check").code == 2
    done = desk.organism("replay", thread)
    assert done.code == 0
    assert done.out.startswith("the same: 1 delivery and ")


def test_a_fork_runs_to_its_end_and_prints_what_run_prints(ran: tuple[Desk, str]) -> None:
    at, thread = ran
    done = at.organism("fork", thread, "--at", "2", "--json")
    assert done.code == 0
    assert done.object["thread"] != thread
    assert done.object["replies"][0]["payload"] == {"Done": {"text": "all", "parts": ["ADA0", "ADA1"]}}
    assert "continues after 2 entries of" in done.err
    assert len(at.organism("threads", "--json").objects) == 2
    assert at.organism("verify").code == 0
    assert at.organism("fork", thread).code == 0


def test_a_fork_has_its_origins_labels_and_those_that_it_is_given(desk: Desk) -> None:  # noqa: F811 - the fixture
    desk.write("organism.yaml", FILE)
    labels = ("--label", "arm=long", "--label", "site=a")
    thread = desk.organism("run", "--to", "shouter", "--send", "ada", "--json", *labels).object["thread"]
    same = desk.organism("fork", thread, "--at", "1", "--json").object
    other = desk.organism("fork", thread, "--at", "1", "--json", "--label", "arm=short", "--label", "who=me").object
    assert same["labels"] == {"arm": "long", "site": "a"}
    assert other["labels"] == {"arm": "short", "site": "a", "who": "me"}
    # Its handlers see them, and a replay does.
    assert other["replies"][0]["payload"]["Done"]["parts"] == ["arm=short", "site=a", "who=me"]
    assert desk.organism("replay", other["thread"]).code == 0
    wrong = desk.organism("fork", thread, "--label", "arm")
    assert (wrong.code, wrong.err) == (2, "--label arm: is not KEY=VALUE\n")
    desk.forget()


def test_threads_are_listed_by_when_they_began_and_a_fork_began_with_its_origin(ran: tuple[Desk, str]) -> None:
    at, thread = ran
    later = at.organism("run", "--json").object["thread"]
    fork = at.organism("fork", thread, "--at", "2", "--json").object["thread"]
    assert [row["thread"] for row in at.organism("threads", "--json").objects] == [thread, fork, later]


def test_a_fork_has_the_limits_that_are_set(desk: Desk) -> None:  # noqa: F811 - the fixture
    desk.write("organism.yaml", FILE)
    done = desk.organism("run", "--json", "--to", "spender", "--send", "ada")
    assert done.code == 3
    calls = done.object["usage"]["model_calls"]
    keys = ("tokens=500", "cost_usd=0.5", "warn_at=[0.3]", "grace.share=0.2", "grants_up_to.tokens=7", "runway=0")
    sets = [word for key in keys for word in ("--set", f"budget.{key}")]
    less = desk.organism("fork", done.object["thread"], "--at", "1", "--json", *sets)
    assert less.code == 3
    assert less.object["usage"]["model_calls"] < calls
    assert less.object["usage"]["tokens"] <= 500
    log = desk.organism("log", less.object["thread"], "--jsonl").objects
    (budget,) = [each["budget"] for each in log if each["fact"] == "LimitsSet"]
    assert (budget["limits"]["tokens"], budget["limits"]["cost_usd"], budget["limits"]["messages"]) == (500, "0.5", 300)
    assert (budget["warn_at"]["tokens"], budget["grace"]["share"], budget["grants_up_to"]) == (
        ["0.3"],
        "0.2",
        {"tokens": "7"},
    )
    assert budget["runway"] == "0"


def test_a_file_that_lacks_a_threads_payloads_is_said_in_a_line(ran: tuple[Desk, str]) -> None:
    at, thread = ran
    at.write("other.yaml", "organism: other\njournal: sqlite:organism.db\nhandlers: {}\n")
    for command in ("replay", "fork"):
        done = at.organism(command, thread, "other.yaml")
        assert (done.code, done.out) == (5, "")
        assert "'Job' is not a payload of this organism" in done.err.splitlines()[-1]
        assert done.err.splitlines()[-1].startswith(f"error: thread '{thread}', entry 1: ")
        assert "unexpected" not in done.err
    assert len(at.organism("threads", "--json").objects) == 1


def test_what_the_file_has_no_handler_for_any_more_is_a_difference(ran: tuple[Desk, str]) -> None:
    at, thread = ran
    at.write("organism.yaml", FILE.replace("boss: {", "chief: {").replace("to: boss", "to: chief"))
    done = at.organism("replay", thread)
    first, place, *_, now = done.out.splitlines()
    assert (done.code, first) == (1, "different: 1 delivery of 3 deliveries and 0 model calls compared; the first:")
    assert (place.endswith(": it was handled"), now) == (True, "  now:      there is no such handler any more")
    failed = at.organism("fork", thread, "--at", "1", "--json")
    assert (failed.code, failed.object["code"]) == (1, "routing")
    assert at.organism("replay", failed.object["thread"]).out == "the same: 0 deliveries and 0 model calls compared\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--at", "0"), "it can be forked at 1 to"),
        (("--at", "100"), "not at 100"),
        (("--set", "budget.tokes=5"), "tokes"),
        (("--journal", "memory:"), "ends with its process"),
        (("--journal", "sqlite:other.db"), "does not exist yet"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(ran: tuple[Desk, str], words: tuple[str, ...], said: str) -> None:
    at, thread = ran
    done = at.organism("fork", thread, *words)
    assert done.code == 2
    assert said in done.err
    assert len(at.organism("threads", "--json").objects) == 1
    assert at.organism("fork", "nobody").code == 2
    assert at.organism("replay", "nobody").code == 2
