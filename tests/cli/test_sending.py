"""What is sent to whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

JOB = '{"Job": {"text": "eve", "times": 2, "tags": ["a", "b"]}}'


def said(desk: Desk, *arguments: str, stdin: str = "") -> object:
    ran = desk.organism("run", "--json", *arguments, stdin=stdin)
    assert ran.code == 0, ran.err
    (reply,) = ran.object["replies"]
    return reply["payload"]["Done"]["text"]


@pytest.mark.parametrize(
    "send",
    [
        JOB,
        '  {"Job": {"text": "eve", "times": 2}}',
        "<Job><text>eve</text><times>2</times></Job>",
        '<Job xmlns="urn:organism:payloads"><text>eve</text><times>2</times></Job>',
    ],
)
def test_json_and_xml_are_sent_as_they_are(desk: Desk, send: str) -> None:
    assert said(desk, "--to", "shouter", "--send", send) == "EVEEVE"


@pytest.mark.parametrize("send", ["eve", "-5 degrees", "--json", "two\nlines"])
def test_plain_text_fills_the_one_text_that_is_required(desk: Desk, send: str) -> None:
    assert said(desk, "--to", "shouter", "--send", send) == send.upper()


@pytest.mark.parametrize(("text", "heard"), [("eve\n", "EVE"), (JOB, "EVEEVE"), ("<Job><text>x</text></Job>\n", "X")])
def test_a_file_and_standard_input_hold_the_same(desk: Desk, text: str, heard: str) -> None:
    desk.write("in.txt", text.encode())
    assert said(desk, "--to", "shouter", "--send", "@in.txt") == heard
    assert said(desk, "--to", "shouter", "--send", "-", stdin=text) == heard


def test_without_a_receiver_it_goes_to_the_only_handler_that_takes_it(desk: Desk) -> None:
    assert said(desk, "--send", '{"Pair": {"left": "a", "right": "b"}}') == "a+b"


def test_else_to_the_only_one_that_the_file_starts_with(desk: Desk) -> None:
    assert said(desk, "--send", "eve") == "EVE"


def test_else_the_choices_are_named(desk: Desk) -> None:
    desk.write("organism.yaml", desk.file.read_text().partition("start:")[0])
    ran = desk.organism("run", "--send", "eve")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "imported\n--send: 'shouter', 'boss', 'crasher', 'refuser', 'sleeper', 'spender', 'hearer' and 'talker' could take it; "
        "name one with --to\n"
    )
    nobody = desk.organism("run", "--send", '{"Nothing": {}}')
    assert nobody.code == 2
    assert "no handler takes this; name one with --to. There are:" in nobody.err
    assert "\n  joiner takes Pair\n" in nobody.err
    assert "\n  hearer takes Job\n" in nobody.err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"Pair": {"left": "a"}}', "Pair.right: is missing (str)"),
        ("<Pair><left>a</left></Pair>", "Pair.right: is missing (str)"),
        ('{"Pair": ', "is not JSON: "),
        ("<Pair", "is not well-formed XML: "),
    ],
)
def test_what_is_wrong_with_a_document_is_said_where_nobody_is_named(desk: Desk, text: str, problem: str) -> None:
    desk.write("organism.yaml", desk.file.read_text().partition("start:")[0])
    ran = desk.organism("run", "--send", text)
    assert ran.code == 2
    assert ran.err.removeprefix("imported\n").startswith(f"--send: {problem}")
    assert "There are:\n" in ran.err
    assert "\n  joiner takes Pair\n" in ran.err


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (("--to", "shouter"), ["--to shouter: there is no message to send; add --send, and give it as XML"]),
        (("--to", "shoter", "--send", "x"), ["--to shoter: is not a handler; did you mean 'shouter'?"]),
        (("--to", "zzz\x1b", "--send", "x"), ["--to zzz\\x1b: is not a handler; there are: shouter, joiner, boss"]),
        (("--to", "joiner", "--send", "x"), ["--send: plain text cannot become Pair", "'joiner' takes:", "  Pair"]),
        (
            ("--to", "shouter", "--send", '{"Job": {"text": 7}}'),
            ["--send: Job.text: ", "'shouter' takes:", "  Job: Something to be done.", "  - text (str)"],
        ),
        (("--to", "shouter", "--send", '{"Job": '), ["--send: "]),
        (("--to", "shouter", "--send", "<Job><text>"), ["--send: "]),
        (
            ("--to", "hearer", "--send", '{"BudgetWarning": {}}'),
            ["--send: expected Job, got 'BudgetWarning'", "'hearer' takes:", "  Job"],
        ),
        (
            ("--send", "@gone.xml"),
            ["--send @gone.xml: there is no such file; a text that begins with '@' can be written as JSON"],
        ),
        (("--send", "@."), ["--send @.: cannot be read: "]),
        (("--send", "@latin.txt"), ["--send @latin.txt: the file is not UTF-8 (at byte 3)"]),
        (("--send", "@"), ["--send @: names no file; write it as in @question.xml"]),
    ],
)
def test_what_cannot_be_sent_is_said_and_nothing_runs(desk: Desk, arguments: tuple[str, ...], lines: list[str]) -> None:
    desk.write("latin.txt", b"caf\xe9")
    ran = desk.organism("run", "--json", *arguments)
    assert (ran.code, ran.out) == (2, "")
    heard = ran.err.removeprefix("imported\n").splitlines()
    assert len(heard) >= len(lines)
    for line, begin in zip(heard, lines, strict=False):
        assert line.startswith(begin)


@pytest.mark.parametrize(
    ("send", "said"),
    [("", "--send"), (" \t\n", "--send"), ("-", "--send -"), ("@empty.txt", "--send @empty.txt")],
)
def test_nothing_but_blanks_is_not_sent(desk: Desk, send: str, said: str) -> None:
    desk.write("empty.txt", "\n")
    ran = desk.organism("run", "--to", "shouter", "--send", send)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == f"{said}: is empty; to send an empty text on purpose, write it as JSON"
    ran = desk.organism("run", "--to", "shouter", "--send", '{"Job": {"text": ""}}')
    assert ran.code == 0, ran.err


def test_with_nothing_to_send_nothing_runs(desk: Desk) -> None:
    desk.write("organism.yaml", "organism: demo\n")
    ran = desk.organism("run")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "there is nothing to do: use --to and --send, or write 'start:' into the file\n"
    assert desk.organism("run", "--send", "x").err == "--send: there is no handler to send to\n"
