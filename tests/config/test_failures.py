"""``on_failure`` and ``dead_letters``: what they mean, in ``defaults`` and per handler, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from organism import Context, Organism
from organism.errors import ConfigurationError
from organism.payloads.primitives import DeadLetter  # noqa: TC001 - read from an annotation
from organism.settings import OnFailure
from tests.hard.pump_world import Go


async def work(message: Go, ctx: Context) -> None:
    """Works."""


async def watch(message: DeadLetter, ctx: Context) -> None:
    """Watches."""


def made(policy: Any = None, **document: Any) -> Organism:
    own = {} if policy is None else {"on_failure": policy}
    return Organism(name="test", handlers={"work": {"code": work, **own}, "watch": watch}, **document)


def mistakes(policy: Any = None, **document: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        made(policy, **document)
    return [mistake.partition(") ")[2] or mistake.partition("): ")[2] for mistake in raised.value.mistakes]


def test_what_is_not_said_is_the_default() -> None:
    assert made().settings.handlers["work"].on_failure == OnFailure()
    assert OnFailure() == OnFailure(
        do="reply", attempts=1, within=60, backoff=(0.1, 5), retry_on=("crashed", "timeout")
    )
    assert made().settings.dead_letters is None


def test_a_handler_goes_over_the_defaults_key_by_key() -> None:
    defaults = {"on_failure": {"attempts": 3, "backoff": [1, 2]}}
    handlers = made({"do": "stop", "attempts": 2}, defaults=defaults).settings.handlers
    assert handlers["work"].on_failure == OnFailure(do="stop", attempts=2, backoff=(1, 2))
    assert handlers["watch"].on_failure == OnFailure(attempts=3, backoff=(1, 2))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"do": "restart"}, "do: 'restart' is not 'reply', 'stop' or 'escalate'"),
        ({"attempts": 0}, "attempts: 0 is too little: 1 is the least"),
        ({"within": 0}, "within: 0 is not above 0"),
        (
            {"backoff": [1]},
            "backoff: needs two numbers, the first and the longest wait in seconds, and has 1",
        ),
        ({"backoff": [3, 1]}, "backoff: the first wait (3) is longer than the longest (1)"),
        ({"backoff": 3}, "backoff: must be a list and not 3"),
        ({"backoff": [-1, 0]}, "backoff[0]: -1 is negative"),
        ({"backoff": [1, 1e99]}, "backoff[1]: 1e+99 is too much: 31622400 is the most"),
        (
            {"retry_on": ["refused"]},
            "retry_on[0]: 'refused' is what a handler answers: it is not tried again; leave it out",
        ),
        (
            {"retry_on": ["exhausted"]},
            "retry_on[0]: 'exhausted' is a limit that was reached: trying again would meet it again; leave it out",
        ),
        (
            {"retry_on": ["crash"]},
            "retry_on[0]: 'crash' is not 'crashed', 'timeout', 'validation', 'routing' or 'no_reply'; did you mean 'crashed'?",
        ),
        ({"retry_on": ["timeout", "timeout"]}, "retry_on[1]: is in the list twice"),
        ({"attempt": 2}, "attempt: unknown key; did you mean 'attempts'?"),
    ],
)
def test_what_is_wrong_with_a_policy_is_told_with_its_place(policy: dict[str, Any], said: str) -> None:
    assert mistakes(policy) == [f"handlers.work.on_failure.{said}"]


def test_a_person_is_asked_once() -> None:
    people = {
        "boss": {"human": {"accepts": Go, "replies": Go}, "description": "Decides.", "on_failure": {"attempts": 2}}
    }
    with pytest.raises(ConfigurationError, match=r"handlers\.boss\.on_failure: a person is asked once: leave it out"):
        Organism(name="test", handlers=people)
    del people["boss"]["on_failure"]
    settings = Organism(name="test", handlers=people, defaults={"on_failure": {"attempts": 3}}).settings
    assert settings.handlers["boss"].on_failure == OnFailure()


def test_dead_letters_name_a_handler_that_takes_them() -> None:
    assert made(dead_letters="watch").settings.dead_letters == "watch"
    assert mistakes(dead_letters="wach") == ["'wach' is not a handler; did you mean 'watch'?"]
    assert mistakes(dead_letters="organism") == [
        "'organism' is the organism itself, and no handler: name one of 'handlers'"
    ]
    assert mistakes(dead_letters="work") == [
        "'work' takes Go, and no DeadLetter: name a handler that takes organism.primitives:DeadLetter"
    ]
