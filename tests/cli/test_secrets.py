"""The command line never shows a key: not one that stands where none belongs, and not one that something quotes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Desk, Ran

TRACE: Final = "zq9"
"""Stands in every secret here, and nowhere else."""
LOOKS: Final = "sk-proj-zq9" + "aB3dE5fG7h" * 3
ENV: Final = "zq9-env-Key/With+Odd=Parts-0123456789"
WORD: Final = "zq9secretword"

FILE: Final = """
    organism: demo
    models:
      default:
        backends: [{provider: openai, model: m, api_key_env: PLANTED, base_url: "http://127.0.0.1:9/v1"}]
        retries: 0
    handlers:
      careless: {code: careless:careless}
"""
CODE: Final = f'''
import os
from organism import Context, Reply, payload

@payload
class Wish:
    """What to do."""
    text: str

async def careless(wish: Wish, ctx: Context) -> Reply[Wish]:
    """Quotes all that it knows."""
    ctx.log.error("with %s and %s", os.environ["PLANTED"], "{LOOKS}")
    if wish.text == "ask":
        return Reply(Wish((await ctx.complete("hello")).text))
    if wish.text == "answer":
        return ["{LOOKS}"]
    try:
        raise ValueError(os.environ["PLANTED"])
    except ValueError as error:
        raise RuntimeError("with {LOOKS}") from error
'''


@pytest.fixture
def planted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("PLANTED", ENV)
    desk.write("organism.yaml", FILE)
    desk.write("careless.py", CODE)
    return desk


def said(ran: Ran) -> str:
    return ran.out + ran.err


BACKEND: Final = "models.default.backends.0"
SETS: Final = (
    f"{BACKEND}.base_url=https://user:{WORD}@host/v1",
    f"{BACKEND}.base_url=https://{WORD}@host/v1",
    f"{BACKEND}.base_url=https://host/v1?api_key={WORD}",
    f"{BACKEND}.base_url=https://host/v1?sig={WORD}",
    f"{BACKEND}.base_url=htps://user:{WORD}@host",
    f"{BACKEND}.api_key={WORD}",
    f"{BACKEND}.token={WORD}",
    f"{BACKEND}.api_key_env={LOOKS}",
    f"{BACKEND}.options.extra_headers.Authorization={WORD}",
    f"{BACKEND}.options={{api_key: {WORD}}}",
    f"{BACKEND}.provider={LOOKS}",
    f"budget.tokens={LOOKS}",
    f"nowhere.{LOOKS}=1",
    f"organism={LOOKS}",
)


@pytest.mark.parametrize("given", SETS)
@pytest.mark.parametrize("command", ["check", "models", "run"])
def test_a_key_in_a_wrong_place_is_refused_and_not_shown(planted: Desk, command: str, given: str) -> None:
    ran = planted.organism(command, "--set", given)
    assert ran.code == 2
    assert "--set" in said(ran)
    assert TRACE not in said(ran)


@pytest.mark.parametrize(
    "lines",
    [
        f"models: {{default: {{backends: [{{provider: openai, model: m, api_key: {WORD}}}]}}}}",
        f"models: {{default: {{backends: [{{provider: openai, model: m, password: {WORD}}}]}}}}",
        f"api_key: {LOOKS}",
        f"budget: {{tokens: {LOOKS}}}",
        f'budget: "{LOOKS}',
        f"budget: [{LOOKS}",
        f"{LOOKS}: 1",
    ],
)
def test_nor_one_in_a_file_that_is_wrong(planted: Desk, lines: str) -> None:
    planted.write("organism.yaml", f"organism: demo\n{lines}\n")
    ran = planted.organism("check")
    assert ran.code == 2
    assert TRACE not in said(ran)


def test_nor_one_in_the_environment_that_is_wrong(planted: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGANISM_BUDGET__TOKENS", LOOKS)
    monkeypatch.setenv("ORGANISM_API_KEY", WORD)
    ran = planted.organism("check")
    assert (ran.code, "ORGANISM_BUDGET__TOKENS" in said(ran)) == (2, True)
    assert TRACE not in said(ran)


@pytest.mark.parametrize("wish", ["crash", "answer", "ask"])
@pytest.mark.parametrize("more", [(), ("--json",), ("--debug",), ("--verbose",), ("--json", "--debug")])
def test_what_a_handler_quotes_is_not_shown_on_the_way_out(planted: Desk, more: tuple[str, ...], wish: str) -> None:
    ran = planted.organism("run", "--to", "careless", "--send", wish, *more)
    assert ran.code == 1
    # Lines of a traceback are lines of the source; those that look like a key are hidden all the same.
    assert TRACE not in said(ran)
    assert "[secret]" in said(ran)
    for command in (("show", "1"), ("log", "1"), ("threads", "--json"), ("export",), ("dead",), ("models", "--json")):
        told = planted.organism(*command)
        assert TRACE not in said(told), command
