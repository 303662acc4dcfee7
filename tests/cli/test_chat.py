"""``organism chat``: at a pipe, in a file, and at a terminal."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import pytest
import trio.lowlevel

from organism.cli.main import execute
from organism.cli.streams import Streams
from organism.cli.talking import PROMPT
from organism.errors import JournalError
from organism.journal import open_journal
from tests.cli.test_terminal import Terminal
from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

TALK = '''
    import anyio

    from organism import Context, Refused, Reply, payload


    @payload
    class Say:
        text: str


    @payload
    class Heard:
        text: str


    @payload
    class Sum:
        text: str
        turns: int


    async def count(say: Say, ctx: Context) -> Reply[Heard]:
        """Counts turns."""
        turns = ctx.state["turns"] = ctx.state.get("turns", 0) + 1
        print("printed by a handler")
        if say.text == "refuse":
            raise Refused("not today")
        if say.text == "sleep":
            await anyio.sleep_forever()
        return Reply(Heard(f"{turns} {say.text}"))


    async def add(say: Say, ctx: Context) -> Reply[Sum]:
        """Adds up."""
        return Reply(Sum(say.text, 1))


    async def spend(say: Say, ctx: Context) -> Reply[Heard]:
        """Calls its model."""
        return Reply(Heard((await ctx.complete("Say it.", max_output_tokens=20)).text))
'''
FILE = """
    organism: demo
    journal: sqlite:organism.db
    handlers:
      counter: {code: talk:count, timeout: null}
      adder: {code: talk:add}
      spender: {code: talk:spend}
"""


@pytest.fixture
def talk(desk: Desk) -> Desk:
    desk.write("talk.py", TALK)
    desk.write("organism.yaml", FILE)
    return desk


def test_each_line_is_a_turn_and_only_replies_are_on_standard_output(talk: Desk) -> None:
    ran = talk.organism(
        "chat", "--to", "counter", stdin='a\n\n  \nb\n{"Say": {"text": "c"}}\n<Say><text>d</text></Say>\ne'
    )
    assert (ran.code, ran.out.splitlines()) == (0, ["1 a", "2 b", "3 c", "4 d", "5 e"])
    head, *rest = ran.err.splitlines()
    assert re.fullmatch(
        r"conversation ([0-9a-f]{16}); to continue it later: organism chat --to counter --conversation \1", rest[0]
    )
    assert head.startswith("note: ")
    assert rest[1:] == ["printed by a handler"] * 5


def test_a_conversation_goes_on_where_another_process_left_it(talk: Desk) -> None:
    for turns in (1, 3):
        ran = talk.organism("chat", "--to", "counter", "--conversation", "c-42", "--quiet", stdin="a\nb\n")
        assert ran.out.splitlines() == [f"{turns} a", f"{turns + 1} b"]
        assert ran.err.splitlines() == ["printed by a handler"] * 2
    assert talk.organism("chat", "--to", "counter", "--quiet", stdin="a\n").out == "1 a\n"


def test_the_way_back_names_all_that_was_typed(talk: Desk) -> None:
    talk.write("other.yaml", FILE.replace("journal: sqlite:organism.db", ""))
    ran = talk.organism("chat", "other.yaml", "--to", "counter", "--conversation", "my talk", stdin="")
    assert "conversation my talk, which ends with this chat" in ran.err
    ran = talk.organism(
        "chat", "other.yaml", "--to", "counter", "--conversation", "my talk", "--journal", "sqlite:o.db", stdin=""
    )
    command = "organism chat --to counter --conversation 'my talk' --file other.yaml --journal sqlite:o.db"
    assert ran.err.splitlines()[-1] == f"conversation my talk; to continue it later: {command}"


def test_a_turn_that_fails_is_said_and_the_chat_goes_on(talk: Desk) -> None:
    ran = talk.organism("chat", "--to", "counter", "--quiet", stdin="a\nrefuse\nb\n")
    assert (ran.code, ran.out) == (1, "1 a\n2 b\n")
    assert "failed: counter (refused): not today [thread " in ran.err


def test_what_is_said_of_a_dead_letter_is_no_answer(talk: Desk) -> None:
    talk.write(
        "dead.py",
        """
        from organism import Context, Reply
        from organism.primitives import DeadLetter
        from talk import Heard, Say


        async def crash(say: Say, ctx: Context) -> Reply[Heard]:
            \"\"\"Crashes at once.\"\"\"
            if say.text == "crash":
                raise ValueError("it did")
            return Reply(Heard(say.text))


        async def watch(letter: DeadLetter, ctx: Context) -> Reply[Heard]:
            \"\"\"Is told.\"\"\"
            return Reply(Heard("I was told"))
        """,
    )
    handlers = "handlers:\n      crasher: {code: dead:crash}\n      watch: {code: dead:watch}\n      counter"
    talk.write("organism.yaml", FILE.replace("handlers:\n      counter", f"dead_letters: watch\n    {handlers}"))
    ran = talk.organism("chat", "--to", "crasher", "--quiet", stdin="crash\na\nb\n")
    assert (ran.code, ran.out.splitlines()) == (1, ["a", "b"])
    assert "dead-" in talk.organism("threads").out


def test_a_line_that_is_no_payload_is_not_sent(talk: Desk) -> None:
    ran = talk.organism("chat", "--to", "counter", "--quiet", stdin='{"Sai": {}}\nb\n')
    assert (ran.code, ran.out) == (1, "1 b\n")
    assert ran.err.startswith("not sent: ")
    assert "'counter' takes:" in ran.err


def test_a_reply_of_several_fields_is_shown_as_run_shows_it(talk: Desk) -> None:
    ran = talk.organism("chat", "--to", "adder", "--quiet", stdin="a\n")
    assert ran.out == "adder: Sum\n  text: a\n  turns: 1\n"


def test_at_its_cap_the_conversation_ends_and_says_so(talk: Desk) -> None:
    ran = talk.organism("chat", "--to", "counter", "--set", "conversation.messages=2", stdin="a\nb\nc\nd\n")
    assert (ran.code, ran.out) == (3, "1 a\n2 b\n")
    *_, last, unsent = ran.err.splitlines()
    assert unsent == "not sent: line 3, 'c', and the lines after it"
    assert re.match(r"exhausted: conversation \w+ takes no further turn: messages of the conversation: 2 used", last)
    assert "budget warning: counter: messages warning, critical and final, 2 of 2 used" in ran.err


def test_at_its_cap_it_says_that_it_goes_on(talk: Desk) -> None:
    options = ("--set", "conversation.messages=2", "--set", "conversation.on_cap=rotate", "--conversation", "c")
    ran = talk.organism("chat", "--to", "counter", *options, stdin="a\nb\nc\nd\n")
    assert (ran.code, ran.out) == (0, "1 a\n2 b\n3 c\n4 d\n")
    assert ran.err.count("conversation c has ended and continues in c~2") == 1


def test_a_turn_that_is_exhausted_counts_in_the_exit_code(talk: Desk) -> None:
    ran = talk.organism("chat", "--to", "spender", "--set", "budget.tokens=10", "--quiet", stdin="a\nb\n")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.count("exhausted: spender ended without an answer") == 2


def test_what_the_command_line_says_is_checked(talk: Desk) -> None:
    ran = talk.organism("chat", stdin="a\n")
    assert (ran.code, ran.err) == (
        2, "--to is missing: name a handler; there are: counter, adder, spender\n",
    )  # fmt: skip
    ran = talk.organism("chat", "--to", "countr", stdin="a\n")
    assert (ran.code, ran.err) == (2, "--to countr: is not a handler; did you mean 'counter'?\n")
    # A variable that nothing was set to: all who forget one would talk in the same conversation.
    ran = talk.organism("chat", "--to", "counter", "--conversation", "", stdin="a\n")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("--conversation: is empty; give it an id, or leave it out for a new one\n")


@pytest.mark.parametrize("url", ["sqlite:organism.db", "jsonl:journal"])
def test_a_conversation_goes_on_with_whom_it_was_begun_with(talk: Desk, url: str) -> None:
    on = ("--conversation", "my talk", "--journal", url, "--quiet")
    ran = talk.organism("chat", *on, stdin="a\n")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "conversation my talk has not begun yet: --to is missing: name a handler; there are: counter, adder, spender\n"
    )
    assert talk.organism("chat", "--to", "counter", *on, stdin="a\n").out == "1 a\n"
    assert talk.organism("chat", *on, stdin="b\n").out == "2 b\n"
    # Another one may be talked to in it; that is a word for this time.
    assert "Sum" in talk.organism("chat", "--to", "adder", *on, stdin="c\n").out
    ran = talk.organism("chat", *on[:-1], stdin="d\n")
    assert ran.out == "3 d\n"
    assert "to continue it later: organism chat --to counter " in ran.err
    ran = talk.organism("chat", "--conversation", "my", *on[2:], stdin="e\n")
    assert (ran.code, ran.out) == (2, "")


def test_whom_a_conversation_was_begun_with_goes_before_whom_the_file_would_have(talk: Desk) -> None:
    on = ("--conversation", "c", "--quiet", "--set", "start=[{to: adder, payload: {Say: {text: x}}}]")
    assert talk.organism("chat", "--to", "counter", *on, stdin="a\n").out == "1 a\n"
    assert talk.organism("chat", *on, stdin="b\n").out == "2 b\n"
    assert "Sum" in talk.organism("chat", "--conversation", "other", *on[2:], stdin="b\n").out


@pytest.mark.parametrize("url", ["sqlite:organism.db", "jsonl:journal"])
def test_a_conversation_of_which_only_a_successor_is_left_goes_on_with_whom_that_was_begun_with(
    talk: Desk, url: str
) -> None:
    cap = ("--set", "conversation.messages=2", "--set", "conversation.on_cap=rotate")
    on = ("--conversation", "c", "--journal", url, "--quiet", *cap)
    assert talk.organism("chat", "--to", "counter", *on, stdin="a\nb\nc\n").out == "1 a\n2 b\n3 c\n"
    journal = open_journal(url, folder=talk.folder)
    journal.remove("conversation:c")
    journal.close()
    ran = talk.organism("chat", *on, stdin="d\n")
    assert (ran.code, ran.out) == (0, "4 d\n"), ran.err
    assert ran.err.endswith("conversation c has ended and continues in c~2\n")


FILLS: Final = '''
    import resource

    from organism import Context, Reply, payload


    @payload
    class Job:
        text: str


    async def fill(job: Job, ctx: Context) -> Reply[Job]:
        """Echoes it; from 'fill' on no file grows any more."""
        if job.text == "fill":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        return Reply(job)
'''


def test_a_turn_that_cannot_be_written_says_why_and_is_no_answer(desk: Desk) -> None:
    desk.write("fills.py", FILLS)
    desk.write("organism.yaml", "organism: full\njournal: jsonl:journal\nhandlers: {filler: {code: 'fills:fill'}}\n")
    (desk.folder / "lines").write_text("a\nfill\nb\n", "utf-8")
    with (desk.folder / "lines").open("rb") as lines:
        ran = desk.process("chat", "--to", "filler", "--conversation", "c", "--quiet", stdin=lines)
    assert (ran.code, ran.out) == (1, "a\n")
    frozen, *told = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    why = f"journal/conversation_3ac.jsonl cannot be written: {os.strerror(errno.EFBIG)}"
    assert frozen.startswith(f"error: thread conversation:c is frozen: {why}")
    assert told == [f"error: {why}", f"error: not sent: {why}"]


def test_a_conversation_that_was_begun_with_a_handler_that_is_no_more_wants_another(talk: Desk) -> None:
    on = ("--conversation", "c", "--quiet")
    assert talk.organism("chat", "--to", "counter", *on, stdin="a\n").code == 0
    talk.write("organism.yaml", FILE.replace("counter:", "clerk:"))
    ran = talk.organism("chat", *on, stdin="b\n")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "conversation c was begun with 'counter', which is not a handler any more: name one with --to; "
        "there are: clerk, adder, spender\n"
    )
    assert talk.organism("chat", "--to", "clerk", *on, stdin="b\n").out == "1 b\n"


def test_between_two_turns_there_is_none_to_be_cancelled(talk: Desk) -> None:
    assert talk.organism("chat", "--to", "counter", "--conversation", "c-42", "--quiet", stdin="a\n").code == 0
    for order in ("cancel", "pause"):
        ran = talk.organism(order, "c-42")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.endswith("no turn of conversation c-42 is under way\n")


def test_the_only_handler_there_is_need_not_be_named(talk: Desk) -> None:
    talk.write("organism.yaml", "organism: demo\nhandlers: {counter: {code: talk:count}}\n")
    assert talk.organism("chat", "--quiet", stdin="a\n").out == "1 a\n"


def test_a_file_and_a_pipe_are_read_to_their_end(talk: Desk) -> None:
    talk.write("lines.txt", "a\nb")
    with (talk.folder / "lines.txt").open() as lines:
        ran = talk.process("chat", "--to", "counter", "--quiet", stdin=lines)
    assert (ran.code, ran.out) == (0, "1 a\n2 b\n")
    for runtime in ("trio", "asyncio"):
        with talk.start(
            "chat", "--to", "counter", "--set", f"runtime={runtime}", "--quiet", stdin=subprocess.PIPE
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            for number in (1, 2):  # the answer comes before the next line is written
                process.stdin.write(f"ä{number}\n")
                process.stdin.flush()
                assert process.stdout.readline() == f"{number} ä{number}\n"
            out, _ = process.communicate(timeout=120)
            assert (process.returncode, out) == (0, "")


def test_turns_that_a_kill_left_are_answered_first(talk: Desk) -> None:
    arguments = ("chat", "--to", "counter", "--conversation", "c", "--quiet")
    with talk.start(*arguments, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write("sleep\n")
        process.stdin.flush()
        wait_for_turn(talk)
        process.kill()
    talk.write("talk.py", TALK.replace("anyio.sleep_forever()", "anyio.sleep(0)"))
    ran = talk.process(*arguments[:-1], stdin=subprocess.DEVNULL)
    assert "an earlier process left turns of it unfinished" in ran.err
    assert ran.out == ""
    ran = talk.organism(*arguments, stdin="b\n")
    assert (ran.code, ran.out) == (0, "1 sleep\n2 b\n")


def wait_for_turn(talk: Desk) -> None:
    """Until a turn is in the journal."""

    def there() -> bool:
        with suppress(JournalError):  # it is being made
            journal = open_journal("sqlite:organism.db", folder=talk.folder, readonly=True)
            found = bool(journal.chains(open=True))
            journal.close()
            return found
        return False

    wait_until(there, "no turn was ever written")


def test_at_a_terminal_it_prompts_and_ctrl_d_ends_it(talk: Desk) -> None:
    terminal = Terminal(talk, "chat", "--to", "counter")
    terminal.until(lambda shown: shown.endswith("> "))
    terminal.type(b"hello\n")
    terminal.until(lambda shown: "1 hello" in shown and shown.endswith("> "))
    terminal.type(b"\x04")
    assert terminal.finish() == 0


def test_ctrl_c_cancels_the_turn_and_at_the_prompt_it_ends(talk: Desk) -> None:
    terminal = Terminal(talk, "chat", "--to", "counter")
    terminal.until(lambda shown: shown.endswith("> "))
    terminal.type(b"sleep\n")
    terminal.until(lambda shown: "printed by a handler" in shown)
    terminal.process.send_signal(signal.SIGINT)
    terminal.until(lambda shown: "cancelled: counter: Ctrl-C [thread " in shown and shown.endswith("> "))
    terminal.type(b"b\n")
    terminal.until(lambda shown: "1 b" in shown and shown.endswith("> "))
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.finish() == 130
    assert "Traceback" not in terminal.shown


class Screen(io.StringIO):
    """A terminal. Somebody types Ctrl-C as soon as the prompt is there for the second time."""

    prompts = 0

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.prompts += text == PROMPT
        if text == PROMPT and self.prompts == 2:
            interrupt()
        return super().write(text)


@trio.lowlevel.enable_ki_protection
def interrupt() -> None:
    """As the signal comes while trio keeps Python's own interrupt back: that would come later, in the midst of anything."""
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("runtime", ["trio", "asyncio"])
def test_ctrl_c_ends_it_from_when_the_prompt_is_written(talk: Desk, runtime: str) -> None:
    talk.write("organism.yaml", f"{FILE}    runtime: {runtime}\n")
    typed, screen, out = Screen("a\nb\n"), Screen(), io.StringIO()
    code = execute(["chat", "--to", "counter"], Streams(out=out, err=screen, input=typed))
    assert (code, out.getvalue()) == (130, "1 a\n")
    assert screen.getvalue().endswith("> \n")
