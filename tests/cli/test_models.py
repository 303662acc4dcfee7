"""``organism models``: what each alias would use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.test_run import NOTE

if TYPE_CHECKING:
    from tests.cli.conftest import Desk

KEY = "sk-a-key-that-nobody-may-see"
FILE = """
    organism: demo
    models:
      default:
        strategy: round-robin
        downgrade: {at: critical, to: small}
        retries: 1
        backends:
          - {provider: openai, model: gpt-4.1-mini, priority: 2, requests_per_minute: 60, timeout: 7.5}
          - {provider: openai, model: own, base_url: "http://localhost:11434/v1", api_key_env: null, tokens_per_minute: 9000}
          - {provider: anthropic, model: claude-sonnet-4-5, api_key_file: key.txt, max_concurrent: 1}
      small:
        backends: [{provider: simulated, model: sim-1, options: {context_window: 4000}, price: {input: 3, output: 15}}]
    handlers:
      writer:
        agent: {accepts: work:Job, replies: work:Done}
        description: Writes.
"""


@pytest.fixture
def keyed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    desk.write("organism.yaml", FILE)
    desk.write("key.txt", f"{KEY}\n")
    return desk


def test_an_alias_is_told_with_its_backends_in_order(keyed: Desk) -> None:
    ran = keyed.organism("models")
    assert (ran.code, ran.err) == (0, "imported\n")
    assert ran.out == (
        "default: round-robin, in turns, among those with the same priority\n"
        "  retries  1 after a failed attempt, waiting 0.5 s to 30 s\n"
        "  answers  up to 4,096 tokens by default\n"
        "  budget   from level 'critical' on, model 'small'\n"
        "  agents   writer\n"
        "  1. openai/own at http://localhost:11434/v1, priority 1\n"
        "     price   unknown\n"
        "     window  unknown\n"
        "     limits  9,000 tokens per minute, 20 calls at once, 120 s per attempt\n"
        "     key     none\n"
        "  2. anthropic/claude-sonnet-4-5, priority 1\n"
        "     price   3 input, 15 output, 0.3 input from a cache; USD per million tokens, looked up\n"
        "     window  200,000 tokens\n"
        "     limits  1 call at once, 120 s per attempt\n"
        "     key     file key.txt, there\n"
        "  3. openai/gpt-4.1-mini, priority 2\n"
        "     price   0.4 input, 1.6 output, 0.1 input from a cache; USD per million tokens, looked up\n"
        "     window  1,000,000 tokens\n"
        "     limits  60 requests per minute, 20 calls at once, 7.5 s per attempt\n"
        "     key     OPENAI_API_KEY, set\n"
        "\n"
        "small: one backend\n"
        "  retries  3 after a failed attempt, waiting 0.5 s to 30 s\n"
        "  answers  up to 4,096 tokens by default\n"
        "  agents   none\n"
        "  1. simulated/sim-1, priority 1\n"
        "     price   3 input, 15 output, 3 input from a cache; USD per million tokens, from the file\n"
        "     window  4,000 tokens\n"
        "     limits  20 calls at once, 120 s per attempt\n"
        "     key     none\n"
    )


def test_programs_get_an_object_for_each_alias(keyed: Desk) -> None:
    ran = keyed.organism("models", "--json")
    default, small = ran.objects
    assert (default["alias"], default["strategy"], default["downgrade"]) == (
        "default",
        "round-robin",
        {"at": "critical", "to": "small"},
    )
    assert default["agents"] == ["writer"]
    assert [each["model"] for each in default["backends"]] == ["own", "claude-sonnet-4-5", "gpt-4.1-mini"]
    assert default["backends"][0]["price"] is None
    assert default["backends"][2] == {
        "provider": "openai",
        "model": "gpt-4.1-mini",
        "base_url": None,
        "priority": 2,
        "price": {"input": "0.4", "output": "1.6", "cache_read": "0.1", "source": "listed"},
        "context_window": 1_000_000,
        "requests_per_minute": 60,
        "tokens_per_minute": None,
        "max_concurrent": 20,
        "timeout": 7.5,
        "key": {"variable": "OPENAI_API_KEY", "file": None, "set": True},
        "problems": [],
    }
    assert small["backends"][0]["price"]["source"] == "configured"


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_key_is_never_shown(keyed: Desk, how: tuple[str, ...]) -> None:
    ran = keyed.organism("models", *how)
    assert KEY not in ran.out + ran.err


def test_what_keeps_a_backend_from_being_made_stands_below_it(keyed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    ran = keyed.organism("models", "--set", "budget.cost_usd=1")
    assert ran.code == 2
    wrong = [line.removeprefix("     problem ") for line in ran.out.splitlines() if line.startswith("     problem")]
    unpriced, keyless = wrong
    assert unpriced.startswith("organism.yaml:9:9 models.default.backends[1]: no price is known for 'own'")
    assert keyless.startswith(
        "organism.yaml:8:9 models.default.backends[0]: no key for 'gpt-4.1-mini' of provider 'openai': "
    )
    assert "     key     OPENAI_API_KEY, not set\n" in ran.out
    checked = keyed.organism("check", "--set", "budget.cost_usd=1")
    assert sorted(checked.out.splitlines()) == sorted(wrong)


def test_what_is_wrong_with_the_model_that_no_file_names_is_said_of_it_alone(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    desk.write("organism.yaml", "organism: demo\nhandlers: {}\n")
    ran = desk.organism("check", "--set", "models.default.backends.0.provider=openai")
    assert ran.code == 2
    assert ran.out.startswith("the default model: no key for 'sim-1' of provider 'openai': OPENAI_API_KEY is not set; ")


def test_without_models_the_simulated_one_is_said(desk: Desk) -> None:
    ran = desk.organism("models")
    assert ran.code == 0
    assert "  1. simulated/sim-1, priority 1\n     price   free\n     window  128,000 tokens\n" in ran.out
    assert ran.err == "imported\n" + NOTE


def test_a_provider_of_the_users_own_is_not_started(desk: Desk) -> None:
    desk.write("own.py", 'def make(settings):\n    raise AssertionError("it was made")\n')
    desk.write(
        "organism.yaml",
        "organism: demo\nmodels: {default: {backends: [{provider: 'own:make', model: m\u202e1}]}}\n".encode(),
    )
    ran = desk.organism("models")
    assert ran.code == 0, ran.err
    assert "  1. own:make/m\\u202e1, priority 1\n     price   unknown\n     window  unknown\n" in ran.out


def test_a_wrong_file_is_said_with_its_places(desk: Desk) -> None:
    desk.write("organism.yaml", "organism: demo\nmodels: {default: {backends: [{provider: opnai, model: x}]}}\n")
    ran = desk.organism("models")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("organism.yaml:2:") and "'opnai' is not a provider; did you mean 'openai'?" in ran.err
