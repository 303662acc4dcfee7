"""An organism of a file alone: agents and people that take and send plain text, and no module of the user's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from organism import Organism

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

FILE = """\
organism: newsroom
journal: sqlite:news.db
handlers:
  editor:
    description: Puts the article together.
    agent: {accepts: "organism:Text", replies: "organism:Text"}
    peers: [reporter, chief]
  reporter:
    description: Reports on a topic.
    agent: {accepts: "organism:Text", replies: "organism:Text"}
    budget: {tokens: 3000}
  chief:
    description: Approves what is printed.
    human: {accepts: "organism:Text", replies: "organism:Text"}
start:
  - {to: editor, payload: Write about bees.}
"""
FAILS = """\
from organism.models.contract import BackendError
from organism.testing import Says, ScriptedModel

down = ScriptedModel([Says(error=BackendError("server", "out of order"))]).backend
"""


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.write("organism.yaml", FILE)
    (desk.folder / "work.py").unlink()
    return desk


def test_a_file_alone_makes_an_organism_that_runs_pauses_and_goes_on(desk: Desk) -> None:
    assert desk.organism("check").code == 0
    ran = desk.organism("run", "--quiet")
    assert ran.code == 4
    (question,) = desk.organism("inbox", "--json").objects
    assert question["payload"] == {"Text": {"text": "Write about bees."}}
    assert desk.organism("answer", question["id"], "--send", "print it").code == 0
    resumed = desk.organism("resume", "--quiet")
    assert (resumed.code, resumed.out.splitlines()[0]) == (0, "editor: Text")
    (thread,) = desk.organism("threads", "--json").objects
    assert desk.organism("replay", thread["thread"]).code == 0


@pytest.mark.parametrize("form", ["--xsd", "--json"])
def test_plain_text_has_a_schema(desk: Desk, form: str) -> None:
    ran = desk.organism("schema", form)
    assert (ran.code, ran.err) == (0, "")
    assert "Something in plain words." in ran.out


def test_one_of_the_same_name_is_told_by_the_name_that_is_written(desk: Desk) -> None:
    desk.write("mine.py", "from organism import payload\n\n\n@payload\nclass Text:\n    text: str\n")
    desk.write("organism.yaml", FILE.replace("organism:Text", "mine:Text", 1))
    assert "named Text: mine.Text and organism.Text;" in desk.organism("check").out


def test_a_missing_class_is_told_with_what_to_write(desk: Desk) -> None:
    desk.write("organism.yaml", FILE.replace('accepts: "organism:Text", ', "", 1))
    ran = desk.organism("check")
    what = "give a payload class, as in 'module:Class'; 'organism:Text' takes any text"
    assert (ran.code, ran.out) == (2, f"organism.yaml:6:12 handlers.editor.agent: 'accepts' is missing: {what}\n")


@pytest.mark.parametrize("begin", ["run", "chat"])
def test_a_question_tells_the_accounts_of_its_thread_here_and_in_another_process(desk: Desk, begin: str) -> None:
    accounts = "accounts: {customer: {tokens: 9000}, team: {tokens: 9000}}\n"
    desk.write(
        "organism.yaml", FILE.replace("budget: {tokens: 3000}", "budget: {tokens: 3000}\n    peers: [chief]") + accounts
    )
    paid = ("--account", "customer=acme", "--account", "team=blue", "--to", "editor")
    if begin == "run":
        assert desk.organism("run", *paid, "--send", "bees").code == 4
    else:
        assert desk.organism("chat", *paid, "--conversation", "c", stdin="bees\n").code == 4
    told = [(each["from"], each["accounts"]) for each in desk.organism("inbox", "--json").objects]
    assert told == [
        (asker, ["customer:acme", "team:blue"]) for asker in ("editor", "reporter")
    ]  # the latter in a sub-thread

    async def taken_up() -> list[tuple[str, list[str]]]:
        async with Organism.load("organism.yaml") as organism:
            await organism.resume()
            return [(question.sender, list(question.accounts)) for question in organism.inbox()]

    assert anyio.run(taken_up) == told


def test_usage_by_backend_says_under_which_a_call_counts_that_several_were_asked_for(desk: Desk) -> None:
    desk.write("fails.py", FAILS)
    backends = [
        {"provider": "fails:down", "model": "a", "price": {"input": 1, "output": 1}},
        {"provider": "simulated", "model": "b"},
    ]
    desk.write("organism.yaml", f"{FILE}models: {{default: {{backoff: [0, 0], backends: {json.dumps(backends)}}}}}\n")
    assert desk.organism("run", "--quiet", "--to", "reporter", "--send", "bees").code == 0
    ran = desk.organism("usage", "--by", "backend")
    cells = [line.split()[:3] for line in ran.out.splitlines()[2:-1]]
    assert [cells[1][:2], cells[2][:2]] == [["fails:down/a", "1"], ["simulated/b", "0"]]
    assert int(cells[2][2]) > 0
    assert ran.out.splitlines()[-1] == (
        "a call counts under the backend that was tried first, its tokens under the one that charged them"
    )
    assert "a call counts" not in desk.organism("usage", "--by", "model").out
