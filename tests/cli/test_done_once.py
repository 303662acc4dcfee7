"""What has an id of the user's is done once: a run, a fork or more budget, given again by whoever could not see what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.cli.journal_world import URLS
from tests.cli.test_killed_in_upkeep import Death, Killed, death, put_back

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.cli.conftest import Desk, Ran

__all__ = ["death"]

FILE: Final = """
    organism: demo
    budget: {{tokens: 1000, messages: 100}}
    journal: {url}
    accounts:
      tenant: {{tokens: 5000, window: total}}
    handlers:
      shouter: {{code: work:shout}}
      boss: {{code: work:boss, peers: [shouter]}}
      sleeper: {{code: work:sleep}}
"""
JOB: Final = ("--to", "boss", "--send", '{"Job": {"text": "a", "times": 2}}')
RUN: Final = ("run", *JOB, "--id", "apple", "--label", "arm=a", "--quiet")
FORK: Final = (
    "fork",
    "apple",
    "--at",
    "3",
    "--id",
    "berry",
    "--set",
    "budget.tokens=2000",
    "--label",
    "arm=b",
    "--quiet",
)
SAID: Final = "boss: Done\n  text: all\n  parts:\n    - A0\n    - A1\n"


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, desk: Desk) -> str:
    desk.write("organism.yaml", FILE.format(url=request.param))
    return str(request.param)


def outcomes(desk: Desk) -> dict[str, str]:
    return {row["thread"]: row["outcome"] for row in desk.organism("threads", "--json").objects}


def was_killed(error: BaseException) -> bool:
    inner: Sequence[BaseException] = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    causes = [each for each in (error.__cause__, error.__context__) if each is not None]
    return isinstance(error, Killed) or any(map(was_killed, (*inner, *causes)))


def cut_short(desk: Desk, death: Death, number: int, *command: str) -> bool:
    """Whether a command was killed at its write of this number, or found the disk full."""
    death.left = number
    try:
        ran = desk.organism(*command)
    except BaseException as error:
        if not was_killed(error):
            raise
    else:
        assert "Traceback" not in ran.err, ran
        assert not ran.code or "o space left" in ran.err or not death.is_full, ran
    came = death.came
    death.avert()
    return came


@pytest.mark.usefixtures("url")
def test_a_run_under_an_id_sends_once(desk: Desk) -> None:
    first = desk.organism(*RUN)
    assert (first.code, first.out) == (0, SAID)
    assert "sent before" not in first.err
    second = desk.organism(*RUN)
    assert (second.code, second.out) == (0, SAID)
    assert second.err == "sent before: thread apple is there, and nothing was sent\n"
    assert outcomes(desk) == {"apple": "completed"}
    other = desk.organism("run", "--to", "boss", "--send", '{"Job": {"text": "b", "times": 2}}', "--id", "apple")
    assert (other.code, other.out) == (2, "")
    assert "thread id 'apple' is that of another message: 'text' of that Job is 'a', of this one 'b'" in other.err


@pytest.mark.usefixtures("url")
def test_a_fork_under_an_id_is_made_once(desk: Desk) -> None:
    desk.organism(*RUN)
    first = desk.organism(*FORK)
    assert (first.code, first.err) == (0, "forked: thread berry continues after 3 entries of apple\n")
    second = desk.organism(*FORK)
    assert (second.code, second.out) == (0, first.out)
    assert second.err == "forked before: thread berry is this fork, and nothing was copied\n"
    assert outcomes(desk) == {"apple": "completed", "berry": "completed"}
    # The same of a fork of a fork, and of one whose origin is there no more.
    again = ("fork", "berry", "--at", "5", "--id", "cherry", "--quiet")
    assert desk.organism(*again).code == desk.organism(*again).code == 0
    assert outcomes(desk) == {"apple": "completed", "berry": "completed", "cherry": "completed"}
    assert desk.organism("verify").code == 0


@pytest.mark.usefixtures("url")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--at", "4"), "that one is a fork of 'apple' at 3, this one is of 'apple' at 4"),
        (("--set", "budget.tokens=3000"), "that one has tokens 2000, this one 3000"),
        (("--set", "budget.warn_at=[0.5]"), "that one has other keys of budget"),
        (("--label", "arm=c"), "that one has the labels {'arm': 'b'}, this one {'arm': 'c'}"),
        (("--label", "day=1"), "that one has the labels {'arm': 'b'}, this one {'arm': 'b', 'day': '1'}"),
    ],
)
def test_another_fork_under_the_same_id_is_refused(desk: Desk, change: tuple[str, str], said: str) -> None:
    desk.organism(*RUN)
    assert desk.organism(*FORK).code == 0
    at = () if "--at" in change else ("--at", "3")
    ran = desk.organism("fork", "apple", *FORK[4:], *at, *change)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"error: thread id 'berry' is that of another thread: {said}; choose another id\n"


@pytest.mark.parametrize("full", [False, True], ids=["killed", "full"])
@pytest.mark.parametrize("name", ["run", "fork"])
def test_cut_short_at_any_write_it_is_done_once_when_it_is_given_again(
    desk: Desk, death: Death, url: str, name: str, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    death.is_full = full
    monkeypatch.setattr("organism.pump.writer._FEWEST", 1)  # among the writes are those of snapshots
    monkeypatch.setattr("organism.pump.writer._SHARE", 0)
    first = ("run", *JOB, "--id", "plum", "--quiet")
    assert desk.organism(*(RUN if name == "fork" else first)).code == 0
    kept = {path: path.read_bytes() for path in desk.folder.rglob("*") if path.is_file()}
    command, due = (RUN, {"plum", "apple"}) if name == "run" else (FORK, {"apple", "berry"})
    kills = 0
    for number in range(0, 1000, 9 if url.startswith("sqlite") else 3):
        put_back(desk.folder, kept)
        if not cut_short(desk, death, number, *command):
            break
        kills += 1
        for later in (2, 7):  # and while it is given again
            if not cut_short(desk, death, later, *command):
                break
            kills += 1
        again = desk.organism(*command)
        assert (again.code, again.out) == (0, SAID), (number, again)
        assert outcomes(desk) == dict.fromkeys(due, "completed"), number
        assert desk.organism("verify").code == 0, number
    assert kills >= 5, "nothing was cut short"


def once(ran: Ran) -> str:
    assert ran.code == 0, ran
    return ran.out


@pytest.mark.usefixtures("url")
def test_budget_is_added_once_where_nobody_works_on_the_journal(desk: Desk) -> None:
    desk.organism("run", "--to", "sleeper", "--send", '{"Job": {"text": "SIGTERM"}}', "--id", "apple", "--grace", "0")
    more = ("add-budget", "apple", "tokens=1,000", "--id", "more")
    assert once(desk.organism(*more)) == "thread apple: tokens 1,000 -> 2,000\n"
    done = "order 'more' (tokens=1000) was carried out before: nothing was changed\n"
    assert once(desk.organism(*more)) == done
    other = desk.organism("add-budget", "apple", "tokens=1001", "--id", "more")
    said = "that one adds tokens=1000, this one tokens=1001; give this one another id"
    assert (other.code, other.out, other.err) == (2, "", f"order id 'more' is that of another order: {said}\n")
    assert once(desk.organism("cancel", "apple"))
    assert once(desk.organism(*more)) == done
    shared = ("add-budget", "--account", "tenant=acme", "tokens=10", "--id", "more")
    assert once(desk.organism(*shared)) == "account tenant:acme: tokens 5,000 -> 5,010; for good\n"
    assert once(desk.organism(*shared)) == "order 'more' (tokens=10) was carried out before: nothing was changed\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ("fork", "latest", "--id", "f"),
            "--id f: name the thread: another one may be the latest when this is given again",
        ),
        (
            ("add-budget", "latest", "tokens=1", "--id", "f"),
            "--id f: name the thread: another one may be the latest when",
        ),
        (("run", "--id", "f"), "--id f: is for one message; add --send"),
        (("run", *JOB, "--id", ""), "--id '': is no id of a thread; choose another"),
        (
            ("run", *JOB, "--id", "conversation:c"),
            "--id: thread id 'conversation:c' begins as the chains of conversations",
        ),
        (("run", *JOB, "--id", "f", "--journal", "memory:"), "--id f: journal 'memory:' keeps no finished threads"),
        (("add-budget", "apple", "tokens=1", "--id", ""), "add-budget: id '': is empty"),
    ],
)
def test_an_id_that_cannot_be_known_again_is_refused(desk: Desk, command: tuple[str, ...], said: str) -> None:
    desk.write("organism.yaml", FILE.format(url=URLS[0]))
    desk.organism(*RUN)
    ran = desk.organism(*command)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1].startswith(said), ran.err
