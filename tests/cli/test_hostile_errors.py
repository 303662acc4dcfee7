"""Exceptions of handlers that cannot be told: each is a line in the log, and ends its delivery alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

ODD = '''
    from organism import Context, payload

    @payload
    class Word:
        text: str

    class Dumb(Exception):
        def __str__(self):
            raise RuntimeError("has nothing to say")

    async def odd(word: Word, ctx: Context) -> None:
        """Fails, and cannot say of what."""
        if word.text == "dumb":
            raise Dumb
        raise type("Red\\x1b[31m", (Exception,), {})("x")
'''
FILE = "organism: odd\nhandlers: {odd: {code: odd:odd}}\n"


def test_an_exception_that_cannot_be_told_ends_its_delivery_and_no_more(desk: Desk) -> None:
    desk.write("odd.py", ODD)
    desk.write("odd.yaml", FILE)
    for arguments in ((), ("--debug",)):
        ran = desk.organism("run", "odd.yaml", "--to", "odd", "--send", "dumb", "--quiet", *arguments)
        assert ran.code == 1
        assert "crashed in thread" in ran.err
        assert "failed: odd (crashed): Dumb" in ran.err
        assert "unexpected" not in ran.err


def test_what_a_class_is_called_reaches_no_terminal_as_it_is(desk: Desk) -> None:
    desk.write("odd.py", ODD)
    desk.write("odd.yaml", FILE)
    ran = desk.organism("run", "odd.yaml", "--to", "odd", "--send", "x", "--quiet")
    assert "\x1b" not in ran.err
    assert "Red\\x1b[31m: x" in ran.err
