"""``organism study``: the same inputs in several arms, once each, whatever happens in between."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from organism.journal import Lock

if TYPE_CHECKING:
    from tests.cli.conftest import Desk, Ran

WORLD = '''
    """A model whose calls are counted in a file, and that ends its process, or fails, at those that are named in another."""

    import os
    from pathlib import Path

    from organism import BudgetExhaustedError, Context, Reply, payload
    from organism.models.contract import BackendError
    from organism.testing import Says, ScriptedModel


    @payload
    class Question:
        text: str
        times: int = 1


    @payload
    class Answer:
        text: str
        drawn: int


    def _at(name):
        return Path(name).read_text().split() if Path(name).exists() else []


    def script(request):
        with Path("calls.txt").open("a") as calls:
            calls.write("call\\n")
        number = str(len(_at("calls.txt")))
        if number in _at("ends_at"):
            os._exit(9)
        if number in _at("fails_at") or "all" in _at("fails_at"):
            raise BackendError("rejected", "the house is on fire")
        return Says(text="hm", usage=(len(str(request.messages)) // 4, 20))


    backend = ScriptedModel(script).backend


    async def think(question: Question, ctx: Context) -> Reply[Answer]:
        """Thinks twice."""
        said = []
        try:
            for step in range(2):
                done = await ctx.complete(f"{question.text} Think of step {step}. " + "Long. " * 40, max_output_tokens=30)
                said.append(done.text)
        except BudgetExhaustedError:
            said.append("no more")
        if "ends" in _at("between"):
            os._exit(9)
        return Reply(Answer(" ".join(said), ctx.random.randrange(10**6)))


    async def ask(question: Question, ctx: Context) -> Reply[Answer]:
        """Asks a person."""
        return Reply(await ctx.ask("person", question, expect=Answer))
'''
ORGANISM = """
    organism: den
    budget: {tokens: 900, model_calls: 5}
    models: {default: {retries: 0, backends: [{provider: "world:backend", model: m, price: {input: 1, output: 1}}]}}
    handlers:
      thinker: {code: "world:think"}
      asker: {code: "world:ask", peers: [person]}
      person: {description: Somebody., human: {accepts: "world:Question", replies: "world:Answer"}}
"""
STUDY = """
    study: dens
    to: thinker
    inputs: [What is a den?, {Question: {text: Whose is it?}}]
    arms:
      plain: {}
      small: {budget.tokens: 360, budget: {warn_at: [0.4]}}
    repeats: 2
"""
CALLS = 2 + 2 * 2 * 2 + 2 * (2 + 1)
"""Of the warm-up, of the arm whose threads make two calls each, and of that in which the second call is refused for the second input: how many
tokens the first one has is known by the warm-up.
"""


@pytest.fixture
def den(desk: Desk) -> Desk:
    desk.write("world.py", WORLD)
    desk.write("organism.yaml", ORGANISM)
    desk.write("study.yaml", STUDY)
    return desk


def calls(den: Desk) -> int:
    return len((den.folder / "calls.txt").read_text().split())


def rows(ran: Ran) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(ran.out)))


def by_cell(ran: Ran) -> dict[tuple[str, str, str], dict[str, str]]:
    return {(row["arm"], row["input"], row["repeat"]): row for row in rows(ran)}


def figures_of(ran: Ran) -> list[tuple[str, ...]]:
    """What stays the same from run to run."""
    return [tuple(row[key] for key in ("arm", "input", "repeat", "outcome", "tokens", "warnings")) for row in rows(ran)]


def test_each_input_runs_in_each_arm_as_often_as_is_said(den: Desk) -> None:
    ran = den.organism("study", "--csv")
    assert ran.code == 0, ran.err
    assert list(by_cell(ran)) == [
        (arm, number, repeat) for arm in ("plain", "small") for number in "12" for repeat in "12"
    ]
    assert {row["outcome"] for row in rows(ran) if row["arm"] == "plain"} == {"completed"}
    small = [row for row in rows(ran) if row["arm"] == "small"]
    assert {json.loads(row["warnings"])[0] for row in small} == {"tokens final"}
    assert all(len(json.loads(row["warned_at"])) == len(json.loads(row["warnings"])) for row in small)
    assert all(0 < json.loads(row["warned_at"])[0] <= int(row["tokens"]) for row in small)
    assert {row["set"] for row in small} == {'{"budget.tokens": 360, "budget": {"warn_at": [0.4]}}'}
    assert json.loads(small[0]["labels"]) == {"study": "dens", "arm": "small", "input": "1", "repeat": "1"}
    assert calls(den) == CALLS


def test_handlers_draw_the_same_in_each_arm_and_something_else_in_each_repeat(den: Desk) -> None:
    ran = den.organism("study", "--json")
    drawn: dict[tuple[int, int], set[int]] = {}
    for each in ran.objects:
        drawn.setdefault((each["input"], each["repeat"]), set()).add(each["replies"][0]["payload"]["Answer"]["drawn"])
    assert [len(same) for same in drawn.values()] == [1] * 4
    assert len({each for same in drawn.values() for each in same}) == 4


def test_no_thread_is_held_higher_than_another_whatever_ran_before(den: Desk) -> None:
    """Each begins with what the warm-up has learned, and nothing else: also the first, and also in a later process."""
    den.write("study.yaml", STUDY.replace("budget.tokens: 360, budget: {warn_at: [0.4]}", "budget.runway: 0"))
    ran = den.organism("study", "--csv", "--calls")
    needs: dict[tuple[str, str], set[str]] = {}
    for row in rows(ran):
        needs.setdefault((row["input"], row["message"] + row["tokens"]), set()).add(row["need_tokens"])
    known = [row for row in rows(ran) if row["input"] == "1"]
    assert all(int(row["need_input_tokens"]) <= int(row["input_tokens"]) + 16 for row in known)  # and its overhead
    assert all(len(same) == 1 for same in needs.values()), needs
    den.write("study.yaml", STUDY.replace("repeats: 2", "repeats: 3").replace("small: {b", "small: {b"))
    learned = (den.folder / "dens.study/learned.json").read_text()
    assert den.organism("study", "--quiet").code == 2  # another arm under the same name
    den.write(
        "study.yaml",
        STUDY.replace("budget.tokens: 360, budget: {warn_at: [0.4]}", "budget.runway: 0").replace("2\n", "3\n"),
    )
    again = den.organism("study", "--csv", "--calls")
    assert len(rows(again)) == len(rows(ran)) * 3 // 2
    for row in rows(again):
        needs.setdefault((row["input"], row["message"] + row["tokens"]), set()).add(row["need_tokens"])
    assert all(len(same) == 1 for same in needs.values()), needs
    assert (den.folder / "dens.study/learned.json").read_text() == learned


SIMULATED = """
    organism: den
    handlers:
      thinker:
        description: Answers.
        agent: {accepts: "world:Question", replies: "world:Answer", tools: ["world:look", "world:read"]}
"""
PAGES = """

    async def look(query: str) -> list[dict[str, str]]:
        \"\"\"Says which pages there are.\"\"\"
        return [{"path": f"{name}.md"} for name in "abcdef"]


    async def read(path: str) -> str:
        \"\"\"Reads a page.\"\"\"
        return " ".join(f"In den {path} live {beast}." for beast in ("foxes", "bears", "owls", "mice", "hares"))
"""


def test_a_simulated_model_draws_the_same_in_each_arm_and_something_else_in_each_repeat(den: Desk) -> None:
    den.write("world.py", WORLD + PAGES)
    den.write("organism.yaml", SIMULATED)
    den.write(
        "study.yaml",
        STUDY.replace("budget.tokens: 360, budget: {warn_at: [0.4]}", "budget.runway: 0").replace("2\n", "6\n"),
    )
    tokens: dict[tuple[str, str], list[str]] = {}
    for row in rows(den.organism("study", "--csv")):
        tokens.setdefault((row["input"], row["repeat"]), []).append(row["tokens"])
    assert all(one == other for one, other in tokens.values())
    assert len({one for (number, _), (one, _) in tokens.items() if number == "1"}) > 2


def test_what_is_done_is_not_run_again(den: Desk) -> None:
    first = den.organism("study", "--csv")
    for of_others in ("notes.db", "plain.x.dens-1-1.db"):
        (den.folder / "dens.study/under-way" / of_others).write_text("not ours", "utf-8")
    again = den.organism("study", "--csv")
    assert (again.code, again.out) == (0, first.out)
    assert calls(den) == CALLS
    assert "8 of them are done" in again.err
    assert den.organism("study", "--report", "--csv").out == first.out


@pytest.mark.parametrize("at", [1, 2, 3, 4, CALLS - 1])
def test_a_killed_study_goes_on_and_pays_for_no_answer_twice(den: Desk, at: int) -> None:
    """Killed in a model call, whose answer nobody has: that call alone is made again, unless its thread, which is charged for it by estimate,
    has too little left. All other threads are as they would have been.
    """
    den.write("ends_at", str(at))
    assert den.process("study", "--quiet").code == 9
    ran = den.organism("study", "--csv")
    assert ran.code == 0, ran.err
    assert calls(den) in {CALLS, CALLS + 1}
    (den.folder / "dens.study").rename(den.folder / "killed")
    whole = den.organism("study", "--csv")
    pairs = zip(figures_of(ran), figures_of(whole), rows(ran), strict=True)
    assert [row["estimated"] for one, other, row in pairs if one != other] == ["1"] * (at > 2)


def test_a_study_that_is_killed_behind_a_call_pays_for_nothing_twice(den: Desk) -> None:
    den.write("between", "ends")
    assert den.process("study", "--quiet").code == 9
    assert calls(den) == 2
    (den.folder / "between").unlink()
    ran = den.organism("study", "--csv")
    assert ran.code == 0
    assert calls(den) == CALLS
    (den.folder / "dens.study").rename(den.folder / "killed")
    assert figures_of(den.organism("study", "--csv")) == figures_of(ran)


def test_a_thread_that_the_world_kept_from_its_end_is_missing_and_runs_again(den: Desk) -> None:
    den.write("fails_at", "5")
    ran = den.organism("study", "--csv")
    assert ran.code == 1
    (missing,) = [row for row in rows(ran) if row["missing"]]
    assert missing["missing"].startswith("no backend answered a call of 'thinker'")
    assert "1 thread of 8 is missing" in ran.err
    text = den.organism("study", "--report").out
    assert any(line.startswith("missing") and "1" in line for line in text.splitlines())
    again = den.organism("study", "--csv")
    assert again.code == 0
    cell = missing["arm"], missing["input"], missing["repeat"]
    assert by_cell(again)[cell]["attempt"] == "2"
    assert by_cell(again)[cell]["thread"] == missing["thread"]
    assert [row for row in rows(again) if row["attempt"] != "2"] == [row for row in rows(ran) if not row["missing"]]


def test_a_study_stops_where_nothing_comes_of_anything(den: Desk) -> None:
    assert den.organism("study", "--quiet").code == 0
    den.write("study.yaml", STUDY.replace("repeats: 2", "repeats: 9"))
    den.write("fails_at", "all")
    ran = den.organism("study")
    assert ran.code == 1
    assert "stopped: 3 threads in a row came to nothing\n28 threads of 36 are missing" in ran.err
    assert calls(den) == CALLS + 3


def test_an_organism_that_stops_with_its_thread_is_no_end_of_the_study(den: Desk) -> None:
    """What a handler's own failures come to is a result of its arm."""
    den.write("world.py", WORLD.replace("said = []", "said = []; assert question.times < 2"))
    organism = ORGANISM.replace('"world:think"', '"world:think", on_failure: {do: escalate}')
    den.write("organism.yaml", organism)
    den.write("study.yaml", STUDY.replace("Whose is it?", "Whose is it?, times: 2"))
    ran = den.organism("study", "--csv")
    assert ran.code == 0, ran.err
    ends = {(row["input"], row["outcome"], row["code"]) for row in rows(ran) if row["arm"] == "plain"}
    assert ends == {("1", "completed", ""), ("2", "stopped", "stopped")}
    assert den.organism("study", "--csv").out == ran.out


def test_a_warm_up_that_comes_to_nothing_is_no_warm_up(den: Desk) -> None:
    den.write("fails_at", "all")
    ran = den.organism("study")
    assert ran.code == 1
    assert "stopped: the warm-up came to nothing" in ran.err
    assert ran.out == "no thread has a result\n"
    (den.folder / "fails_at").unlink()
    assert den.organism("study").code == 0


def test_who_waits_for_a_person_is_missing_until_there_is_an_answer(den: Desk) -> None:
    den.write(
        "study.yaml", STUDY.replace("to: thinker", "to: asker").replace("repeats: 2", "repeats: 1\n    warm_up: 0")
    )
    ran = den.organism("study")
    assert ran.code == 1
    assert ran.err.count("missing: ") == 3
    assert "is paused" in ran.err
    journal = next(line for line in ran.err.splitlines() if " waits: " in line).rpartition(" ")[2].rstrip("'")
    waits = den.organism("inbox", "--journal", journal, "--json").objects
    answer = '{"Answer": {"text": "ours", "drawn": 7}}'
    assert den.organism("answer", waits[0]["id"], "--send", answer, "--journal", journal).code == 0
    again = den.organism("study", "--csv")
    done = [row for row in rows(again) if not row["missing"]]
    assert [row["attempt"] for row in done] == ["1"]
    assert (den.folder / "dens.study" / f"{done[0]['arm']}.db").exists()


def test_a_study_does_not_pass_its_ceiling(den: Desk) -> None:
    ceiling = "{}\n    ceiling: {{tokens: {}}}\n"
    den.write("study.yaml", ceiling.format(STUDY, 1500))
    ran = den.organism("study")
    assert ran.code == 1
    assert "ceiling: 1,500 tokens" in ran.err
    assert "stopped: of the ceiling of 1,500 tokens, " in ran.err
    done = den.organism("study", "--report", "--csv")
    assert 0 < len(rows(done)) < 8
    assert all(row["outcome"] != "exhausted" or row["arm"] == "small" for row in rows(done))
    den.write("study.yaml", ceiling.format(STUDY, 25000))
    whole = den.organism("study", "--csv")
    assert whole.code == 0
    assert calls(den) == CALLS


def test_a_dry_run_says_what_would_be_run_and_runs_nothing(den: Desk) -> None:
    ran = den.organism("study", "--dry-run")
    how = "arms interleaved in an order drawn from seed 0"
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"study dens: 2 arms x 2 inputs x 2 repeats = 8 threads, {how}; 0 of them are done; 1 thread before to warm up",
        "arm plain: as the organism file says",
        "arm small: budget.tokens=360, budget={'warn_at': [0.4]}",
        "at most: 5,940 tokens, 45 model_calls, 2,700 messages",
        "kept in: dens.study",
    ]
    assert not (den.folder / "dens.study").exists()


def test_the_plan_says_that_it_counts_what_may_be_granted(den: Desk) -> None:
    boss = "boss: {description: Decides., human: {accepts: 'organism.primitives:BudgetRequest', replies: 'organism.primitives:BudgetDecision'}}"
    granted = "model_calls: 5, grants_by: boss, grants_up_to: {tokens: 100}}"
    den.write("organism.yaml", f"{ORGANISM.replace('model_calls: 5}', granted)}      {boss}\n")
    lines = den.organism("study", "--dry-run").out.splitlines()
    assert "at most: 6,840 tokens, 45 model_calls, 2,700 messages, with all that may be granted" in lines


def test_the_plan_says_how_many_run_at_the_same_time_and_what_counts_for_each_alone(den: Desk) -> None:
    den.write("study.yaml", f"{STUDY}    concurrency: 3\n    ceiling: {{tokens: 6000}}\n")
    den.write("organism.yaml", f"{ORGANISM}    ceiling: {{tokens: 5000, window: day}}\n")
    first, *_, last = lines = den.organism("study", "--dry-run").out.splitlines()
    assert "= 8 threads, 3 at the same time, arms interleaved" in first
    note = "note: the 'ceiling' in organism.yaml counts for each thread by itself here; that of the study counts all of them"
    assert note in lines
    assert last == "kept in: dens.study"
    assert den.organism("study", "--quiet").code == 0
    assert calls(den) == CALLS


def test_a_ceiling_of_the_organism_is_not_lost_in_a_study_without_one(den: Desk) -> None:
    den.write("organism.yaml", f"{ORGANISM}    ceiling: {{tokens: 5000, window: day}}\n")
    ran = den.organism("study")
    said = "the 'ceiling' in organism.yaml limits tokens for all threads, and counts for each by itself in a study"
    assert ran.code == 2
    assert f"{said}: set ceiling.tokens here for all of them together" in ran.err
    assert not (den.folder / "dens.study").exists()


def test_what_a_study_has_begun_with_stays(den: Desk) -> None:
    assert den.organism("study", "--quiet").code == 0
    for before, after, said in [
        ("360", "361", "arm 'small'"),
        ("Whose is it?", "Where is it?", "input 2"),
        ("repeats: 2", "repeats: 2\n    seed: 4", "'seed'"),
        ("to: thinker", "to: thinker\n    warm_up: 2", "'warm_up'"),
    ]:
        den.write("study.yaml", STUDY.replace(before, after))
        why = f"dens.study: has threads of another study; since they ran, this changed: {said}."
        for how in ((), ("--dry-run",)):
            ran = den.organism("study", *how)
            assert (ran.code, ran.out) == (2, "")
            assert ran.err.startswith(why), "no plan of what will not be run"
        assert f"note: {why}" in den.organism("study", "--report").err
    den.write("study.yaml", STUDY)
    den.write("organism.yaml", ORGANISM.replace("900", "901"))
    assert "this changed: organism.yaml (or an ORGANISM_ variable)" in den.organism("study").err
    den.write("organism.yaml", ORGANISM)
    den.write("study.yaml", STUDY.replace("small:", "new: {budget.runway: 0}\n      small:").replace("2\n", "3\n"))
    assert len(rows(den.organism("study", "--csv"))) == 18
    den.write("study.yaml", STUDY)
    assert len(rows(den.organism("study", "--csv"))) == 8


def test_the_sums_are_told_by_arm_with_their_differences(den: Desk) -> None:
    lines = den.organism("study", "--quiet").out.splitlines()
    shown = {line.split("  ")[0]: line for line in reversed(lines)}  # the first of each name
    assert lines[0].split() == ["arm", "plain", "small"]
    assert shown["completed"].split("  ")[-1].strip() == "100% (51 to 100)"
    assert shown["reached final"].split() == ["reached", "final", "0%", "(0", "to", "49)", "100%", "(51", "to", "100)"]
    assert shown["less plain"].split() == ["less", "plain", "small"]
    assert lines[-1].endswith("a bootstrap that draws inputs (2 of them, seed 0)")


def spent(ran: Ran) -> list[tuple[str, ...]]:
    """What ``study --usage --csv`` says: arm, handler, model, calls and tokens."""
    return [tuple(row[key] for key in ("arm", "handler", "model", "model_calls", "tokens")) for row in rows(ran)]


def test_what_arms_have_spent_is_told_by_handler_and_model(den: Desk) -> None:
    """All of it: also by the warm-up, by a thread that is missing, and by the same again."""
    assert den.organism("study", "--report", "--usage").out.splitlines()[-1].split() == [
        "all",
        "-",
        "-",
        "0",
        "0",
        "0",
        "0.00",
    ]
    den.write("fails_at", "6")
    assert den.organism("study", "--quiet").code == 1
    ran = den.organism("study", "--usage", "--csv")
    assert ran.code == 0, ran.err
    assert [row[:3] for row in spent(ran)] == [(arm, "thinker", "default") for arm in ("plain", "small", "warm-up")]
    assert sum(int(row[3]) for row in spent(ran)) == calls(den) > CALLS
    paid = {"plain": 0, "small": 0}
    for row in rows(den.organism("study", "--report", "--csv")):
        paid[row["arm"]] += int(row["tokens"])
    assert {row[0]: int(row[4]) for row in spent(ran)}.items() >= paid.items(), "a failed call costs no tokens"

    table = den.organism("study", "--report", "--usage").out.splitlines()
    assert table[0].split() == ["arm", "handler", "model", "calls", "tokens", "in", "out", "cost", "USD"]
    *by_arm, whole = [line.split() for line in table[2:]]
    assert [row[:4] for row in by_arm] == [list(row[:4]) for row in spent(ran)]
    assert whole[:4] == ["all", "-", "-", str(calls(den))]

    objects = [json.loads(line) for line in den.organism("study", "--report", "--usage", "--json").out.splitlines()]
    assert [(each["study"], each["arm"], each["usage"]["tokens"]) for each in objects] == [
        ("dens", row[0], int(row[4])) for row in spent(ran)
    ]
    assert {key for each in objects for key in each["usage"]} == set(rows(ran)[0]) - {
        "study",
        "arm",
        "handler",
        "model",
    }


def test_what_arms_have_spent_counts_threads_under_way_once(den: Desk) -> None:
    den.write("ends_at", "6")
    assert den.process("study", "--quiet").code == 9
    (own,) = (den.folder / "dens.study/under-way").glob("*.db")
    killed = spent(den.organism("study", "--report", "--usage", "--csv"))
    assert sum(int(row[3]) for row in killed) == 5, "the call that was cut is charged when its thread goes on"
    left = own.read_bytes()
    (den.folder / "ends_at").unlink()
    assert den.organism("study", "--quiet").code == 0
    whole = spent(den.organism("study", "--report", "--usage", "--csv"))
    own.write_bytes(left)  # as where a process is killed between the two steps of moving it
    assert spent(den.organism("study", "--report", "--usage", "--csv")) == whole


def test_what_is_spent_has_no_price_or_is_an_estimate(den: Desk) -> None:
    den.write("organism.yaml", ORGANISM.replace(", price: {input: 1, output: 1}", ""))
    ran = den.organism("study", "--usage")
    assert ran.code == 0, ran.err
    *_, whole, note = ran.out.splitlines()
    assert whole.endswith("0.00?")
    assert note == "? leaves out calls whose price is unknown: give the backend a 'price'"


@pytest.mark.parametrize(("longest", "tables"), [(42, 1), (43, 2)])
def test_a_table_of_arms_is_as_wide_as_a_terminal_of_a_hundred_columns(den: Desk, longest: int, tables: int) -> None:
    names = "a" * 40, "b" * longest
    few = STUDY.replace("plain", names[0]).replace("small", names[1]).replace("repeats: 2", "repeats: 1")
    den.write("study.yaml", few)
    ran = den.organism("study", "--quiet")
    assert ran.code == 0, ran.err
    of_arms, _, _ = ran.out.partition("\nless ")
    heads = [line for line in of_arms.splitlines() if line.startswith("arm ")]
    assert len(heads) == tables
    assert (max(map(len, heads)) == 100) == (tables == 1)


def test_arms_follow_each_other_in_an_order_of_the_seed(den: Desk) -> None:
    def order(text: str) -> list[str]:
        den.write("study.yaml", text)
        ran = den.organism("study")
        folder = den.folder / "dens.study"
        folder.rename(den.folder / f"done{len(list(den.folder.iterdir()))}")
        lines = [line.partition(": ")[2] for line in ran.err.splitlines() if " of 8: " in line]
        return [line.rpartition(": ")[0] for line in lines]

    one, other = order(STUDY), order(STUDY.replace("repeats: 2", "repeats: 2\n    seed: 3"))
    assert sorted(one) == sorted(other)
    assert one != other
    for first, second in zip(one[::2], one[1::2], strict=True):
        assert first.partition(":")[2] == second.partition(":")[2]  # the same input and repeat in both arms
    blocked = [line.partition(":")[0] for line in order(STUDY.replace("repeats: 2", "repeats: 2\n    order: blocked"))]
    assert blocked in (["plain"] * 4 + ["small"] * 4, ["small"] * 4 + ["plain"] * 4)


WRONG: list[tuple[str, str, str]] = [
    ("study: dens", "study: Dens", "study.yaml:1:8 study: 'Dens' is not a valid name"),
    ("to: thinker", "to: thinkr", "study.yaml:2:5 to: 'thinkr' is not a handler; did you mean 'thinker'?"),
    ("repeats: 2", "repeats: 0", "study.yaml:7:10 repeats: 0 is too little"),
    ("repeats", "repeat", "study.yaml:7:1 repeat: unknown key; did you mean 'repeats'?"),
    ("plain:", "warm-up:", "study.yaml:5:3 arms.warm-up: 'warm-up' is what the threads before all arms are called"),
    ("plain: {}", "plain: {journal: 'memory:'}", "study.yaml:5:11 arms.plain.journal: cannot differ between arms"),
    ("plain: {}", "plain: {dead_letters: asker}", "arms.plain.dead_letters: cannot differ between arms: nobody is told"),
    ("plain: {}", "plain: {budget.tokns: 4}", "study.yaml:5:11 budget.tokns: unknown key; did you mean 'tokens'?"),
    ("plain: {}", "plain: {budget.warn_at: [1, -3]}", "study.yaml:5:31 budget.warn_at[1]: -3 is not above 0"),
    ("[What is a den?,", "[{Question: {txt: a}},", "study.yaml:3:27 inputs[0].Question.txt: is not a field"),
    ("inputs: [What is a den?, {Question: {text: Whose is it?}}]", "inputs: []", "study.yaml:3:9 inputs: has no inputs"),
    ("inputs: [What is a den?, {Question: {text: Whose is it?}}]", "inputs: in.jsonl", "there is no file 'in.jsonl'"),
    ("repeats: 2", "ceiling: {cost_usd: 1}", "study.yaml:7:10 ceiling: threads of 'plain' or 'small' may take any number"),
    ("repeats: 2", "ceiling: {window: day}", "study.yaml:7:11 ceiling.window: a study has no window"),
    ("repeats: 2", "concurrency: 0", "study.yaml:7:14 concurrency: 0 is too little"),
    ("repeats: 2", "organism: other.yaml", "study.yaml:7:11 organism: there is no file 'other.yaml'"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_a_mistake_is_told_with_its_place(den: Desk, before: str, after: str, said: str) -> None:
    assert before in STUDY
    den.write("study.yaml", STUDY.replace(before, after, 1))
    ran = den.organism("study")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not (den.folder / "dens.study").exists()


def test_a_study_that_records_runs_one_thread_after_the_other(den: Desk) -> None:
    """A recording keeps calls in their order, which nobody could tell from it."""
    den.write("study.yaml", f"{STUDY.replace('plain: {}', 'plain: {record: calls.jsonl}')}    concurrency: 2\n")
    ran = den.organism("study")
    assert (ran.code, ran.out) == (2, "")
    assert "study.yaml:8:14 concurrency: 'plain' has a 'record', which keeps calls in their order: leave" in ran.err
    den.write("study.yaml", STUDY.replace("plain: {}", "plain: {record: calls.jsonl}"))
    assert den.organism("study", "--quiet").code == 0


def test_mistakes_of_the_study_and_of_each_arm_are_told_at_once(den: Desk) -> None:
    wrong = (
        STUDY.replace("plain: {}", "plain: {budget.tokens: -1}").replace("360", "x").replace("repeats: 2", "seed: x")
    )
    den.write("study.yaml", wrong)
    ran = den.organism("study")
    assert [line.partition(":")[2].partition(" ")[0] for line in ran.err.splitlines()[-3:]] == ["7:7", "5:26", "6:26"]


def test_a_mistake_of_the_organism_names_the_arm_that_makes_it_one(den: Desk) -> None:
    den.write("organism.yaml", ORGANISM.replace("budget:", "defaults: {timout: 3}\n    budget:"))
    assert den.organism("study").err.splitlines()[-1].endswith("unknown key; did you mean 'timeout'?")  # in all of them
    writer = 'agent: {accepts: "world:Question", replies: "world:Answer", prompt: "{{ budget.tokens }}"}'
    den.write("organism.yaml", f"{ORGANISM}      writer: {{description: Writes., {writer}}}\n")
    den.write(
        "study.yaml", STUDY.replace("plain: {}", "plain: {}\n      untold: {defaults.agent.notices.deliver: false}")
    )
    (line,) = den.organism("study").err.splitlines()[-1:]
    assert line.startswith("organism.yaml:8:")
    assert "'notices.deliver' is false: leave it out, or put it between '{% if budget is defined %}' and" in line
    assert line.endswith(" (in arm 'untold')")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "other.yaml: there is no such file; name the study's file. The least that is in one: {study: my-study, to: "),
        ("", "other.yaml:1:1: is empty: write at least 'study', 'to', 'inputs' and 'arms', as in 'study: my-study'"),
        ("- a", "other.yaml:1:1: must be a mapping of keys, as in 'study: my-study', and not a list"),
    ],
)  # fmt: skip
def test_what_is_no_study_is_told_what_a_study_is(den: Desk, text: str | None, said: str) -> None:
    if text is not None:
        (den.folder / "other.yaml").write_text(text, "utf-8")
    ran = den.organism("study", "other.yaml")
    assert ran.code == 2
    assert ran.err.splitlines()[-1].startswith(said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--csv", "--json"), "--json and --csv cannot go together"),
        (("--dry-run", "--report"), "--dry-run and --report cannot go together"),
        (("--calls",), "--calls: needs --csv or --json"),
        (("--usage", "--calls", "--csv"), "--usage and --calls cannot go together"),
        (("--usage", "--dry-run"), "--usage and --dry-run cannot go together"),
        (("--grace", "-1"), "--grace -1: must be a number of seconds, 0 or more"),
    ],
)
def test_options_that_cannot_go_together(den: Desk, options: tuple[str, ...], said: str) -> None:
    ran = den.organism("study", *options)
    assert (ran.code, said in ran.err) == (2, True)


def test_a_study_comes_to_the_same_on_both_event_loops(den: Desk) -> None:
    trio = figures_of(den.organism("study", "--csv"))
    den.write("organism.yaml", f"{ORGANISM}    runtime: asyncio\n")
    (den.folder / "dens.study").rename(den.folder / "on_trio")
    assert figures_of(den.organism("study", "--csv")) == trio


def test_an_interrupted_study_says_how_to_go_on(den: Desk) -> None:
    den.write("world.py", WORLD.replace("os._exit(9)", "os.kill(os.getpid(), 2)"))
    den.write("ends_at", "4")
    ran = den.process("study", "--quiet")
    assert (ran.code, ran.out) == (130, "")
    assert "interrupted: running work has 5 s to finish" in ran.err
    assert ran.err.splitlines()[-1] == "the study is not over: run it again, and it goes on from here"
    assert "Traceback" not in ran.err
    assert den.organism("study", "--quiet").code == 0


def test_two_processes_do_not_run_one_study(den: Desk) -> None:
    lock = Lock(den.folder / "dens.study/study.json", {"pid": "4711", "host": "mars", "organism": "dens"})
    lock.take()
    try:
        ran = den.organism("study", "--quiet")
    finally:
        lock.release()
    assert (ran.code, ran.out) == (5, "")
    assert "dens.study/study.json is held by process 4711 on mars (organism dens)" in ran.err
    assert not (den.folder / "calls.txt").exists()
    assert den.organism("study", "--quiet").code == 0


def test_a_damaged_record_is_told(den: Desk) -> None:
    assert den.organism("study", "--quiet").code == 0
    (den.folder / "dens.study/study.json").write_text("{", "utf-8")
    ran = den.organism("study")
    assert (ran.code, ran.err.splitlines()[-1]) == (5, "error: dens.study/study.json is damaged: it is no JSON")


FILES: list[tuple[str, str, list[Any]]] = [
    ("in.jsonl", '{"Question": {"text": "a", "times": 2}}\n\n"b"\n', [("a", 2), ("b", 1)]),
    ("in.csv", 'times,text\n2,"a, or ""b"""\n,c < d\n\n', [('a, or "b"', 2), ("c < d", 1)]),
]


@pytest.mark.parametrize(("name", "text", "expected"), FILES, ids=["jsonl", "csv"])
def test_inputs_stand_in_a_file(den: Desk, name: str, text: str, expected: list[Any]) -> None:
    den.write(name, text)
    listed = "inputs: [What is a den?, {Question: {text: Whose is it?}}]"
    den.write("study.yaml", STUDY.replace(listed, f"inputs: {name}"))
    assert den.organism("study", "--quiet").code == 0
    known = json.loads((den.folder / "dens.study/study.json").read_text())["inputs"]
    assert [(each["Question"]["text"], each["Question"].get("times", 1)) for each in known] == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("in.jsonl", '"a"\n{"Question": {"txt": 1}}\n{\n7\n', ["in.jsonl:2:1 Question.txt:", "in.jsonl:3:1: is no JSON", "in.jsonl:4:1: must"]),
        ("in.csv", "text,time\na,2\n", ["in.csv:1:1: 'time' is not a field of Question; there are: text, times"]),
        ("in.csv", "text,times\na,x\nb,1,2\n", ["in.csv:2:1: Question.times", "in.csv:3:1: has 3 values for 2 columns"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_of_inputs_is_told_by_line(den: Desk, name: str, text: str, said: list[str]) -> None:
    den.write(name, text)
    listed = "inputs: [What is a den?, {Question: {text: Whose is it?}}]"
    den.write("study.yaml", STUDY.replace(listed, f"inputs: {name}"))
    ran = den.organism("study")
    assert ran.code == 2
    for each, line in zip(said, ran.err.splitlines()[-len(said) :], strict=True):
        assert each in line
