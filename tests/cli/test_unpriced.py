"""What nobody knows the price of: no figure of money that leaves it out looks as if it were the whole."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Final

import pytest

from organism.journal.endings import Ending
from organism.usage import Usage
from tests.cli.journal_world import URLS

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

OWN: Final = """
    from organism import Context, Reply
    from organism.testing import Says, ScriptedModel
    from work import Done, Job

    backend = ScriptedModel([Says(text="a", usage=(100, 50))]).backend

    async def spend(job: Job, ctx: Context) -> Reply[Done]:
        '''Asks the models that are named, or has that done.'''
        if job.times > 1:
            return Reply(await ctx.ask("spender", Job(text=job.text, tags=job.tags), expect=Done))
        for model in job.tags:
            await ctx.complete("a", model=model)
        return Reply(Done(text="done"))
"""
FILE: Final = """
    organism: demo
    journal: {url}
    conversation: {{tokens: 100000}}
    models:
      default: {{backends: [{{provider: "own:backend", model: nobody-knows}}]}}
      priced: {{backends: [{{provider: "own:backend", model: known, price: {{input: 10, output: 20}}}}]}}
    handlers:
      boss: {{code: own:spend, peers: [spender]}}
      spender: {{code: own:spend, budget: {{tokens: 100000}}}}
"""
NOTE: Final = "? leaves out calls whose price is unknown: give the backend a 'price'"


@pytest.fixture(params=URLS)
def own(request: pytest.FixtureRequest, desk: Desk) -> None:
    desk.write("own.py", OWN)
    desk.write("organism.yaml", FILE.format(url=request.param))


def job(*models: str) -> str:
    return json.dumps({"Job": {"text": "a", "times": 2, "tags": models}})


def costs(text: str) -> list[str]:
    """What stands below "cost USD" in the table at the end of a text."""
    lines = [line for line in text.splitlines() if not line.startswith("?")]
    rule = max(number for number, line in enumerate(lines) if line and not line.strip("-"))
    end = lines[rule - 1].index("cost USD") + len("cost USD")
    return [line[:end].split()[-1] for line in lines[rule + 1 :]]


@pytest.mark.usefixtures("own")
def test_a_sum_that_leaves_it_out_is_marked_wherever_it_stands(desk: Desk) -> None:
    ran = desk.organism("run", "--to", "boss", "--send", job("default", "priced"), "--id", "mixed")
    assert not ran.code, ran
    assert (costs(ran.out), ran.out.splitlines()[-1]) == (["0.002?", "0.002?"], NOTE)
    ran = desk.organism("run", "--to", "boss", "--send", job("priced"), "--id", "whole")
    assert costs(ran.out) == ["0.002", "0.002"]
    assert NOTE not in ran.out
    ran = desk.organism("show", "mixed")
    assert (costs(ran.out), ran.out.splitlines()[-1]) == (["0.002?", "0.002?"], NOTE)
    assert costs(desk.organism("threads").out) == ["0.002?", "0.002"]
    assert costs(desk.organism("usage", "--by", "thread").out) == ["0.002?", "0.002", "0.004?"]
    rows = desk.organism("threads", "--json").objects
    assert [row["usage"]["unpriced"] for row in rows] == [True, False]
    assert rows[0]["threads"][0]["usage"]["unpriced"]
    lines = list(csv.DictReader(io.StringIO(desk.organism("threads", "--csv").out)))
    assert [(line["cost_usd"], line["unpriced"]) for line in lines] == [("0.002", "1"), ("0.002", "0")]
    lines = list(csv.DictReader(io.StringIO(desk.organism("usage", "--by", "model", "--csv").out)))
    assert {line["model"]: line["unpriced"] for line in lines} == {"": "0", "default": "1", "priced": "0"}
    assert desk.organism("verify").code == 0
    exported = desk.organism("export").out
    desk.write("all.jsonl", exported)
    assert desk.organism("import", "all.jsonl", "--journal", "sqlite:copy.db").code == 0
    assert costs(desk.organism("threads", "--journal", "sqlite:copy.db").out) == ["0.002?", "0.002"]


def test_what_is_kept_of_a_thread_says_so_only_where_it_is_so() -> None:
    def kept(usage: Usage) -> Ending:
        return Ending(
            id="a", entry=3, began=1.0, ended=2.0, handler="h", outcome="completed", unit=None, scope=None, account=None, code=None,
            error=None, conversation=None, origin=None, labels={}, accounts=(), limits={}, usage=usage, warnings=(), replies=1,
            sub_threads=0,
        )  # fmt: skip

    whole, short = kept(Usage(tokens=1)), kept(Usage(tokens=1, unpriced=True))
    assert [Ending.of_bytes(each.as_bytes()) for each in (whole, short)] == [whole, short]
    # As earlier versions have it, so that what they have kept is still what follows from the entries.
    assert [len(json.loads(each.as_bytes())[16]) for each in (whole, short)] == [11, 12]
    for wrong in (b"false", b"1", b"true,true"):
        with pytest.raises(ValueError, match="it is no list of 11 values"):
            Ending.of_bytes(short.as_bytes().replace(b"false,true]", b"false," + wrong + b"]"))
