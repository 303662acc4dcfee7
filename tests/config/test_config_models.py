"""What organism.yaml says of models beyond their backends: who goes first, how fast, and when a cheaper one will do."""

from __future__ import annotations

from typing import Any

import pytest

from organism import config
from organism.errors import ConfigurationError
from organism.settings import Downgrade

BACKENDS: dict[str, Any] = {"backends": [{"provider": "simulated", "model": "sim-1"}]}


def _models(**aliases: Any) -> Any:
    return config.build(
        {"organism": "demo", "models": {name: BACKENDS | more for name, more in aliases.items()}}
    ).models


def _mistakes(**aliases: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        _models(**aliases)
    return [mistake.removeprefix("Organism(models=...) models.") for mistake in caught.value.mistakes]


def test_a_downgrade_names_a_level_and_an_alias() -> None:
    models = _models(default={"downgrade": {"at": "critical", "to": "small"}}, small={"downgrade": None})
    assert models["default"].downgrade == Downgrade(at="critical", to="small")
    assert models["small"].downgrade is None


def test_downgrades_may_lead_on() -> None:
    steps = {"large": "middle", "middle": "small"}
    models = _models(**{name: {"downgrade": {"at": "final", "to": to}} for name, to in steps.items()}, small={})
    assert models["middle"].downgrade == Downgrade(at="final", to="small")


def test_a_downgrade_to_what_is_no_alias_is_refused() -> None:
    assert _mistakes(default={"downgrade": {"at": "critical", "to": "smal"}}, small={}) == [
        "default.downgrade.to: 'smal' is not a model; did you mean 'small'?"
    ]


def test_a_downgrade_to_itself_is_refused() -> None:
    (mistake,) = _mistakes(default={"downgrade": {"at": "critical", "to": "default"}})
    assert mistake.startswith("default.downgrade.to: 'default' is the alias itself")


def test_a_circle_is_refused_at_each_of_its_ends_and_nowhere_else() -> None:
    def to(name: str) -> dict[str, Any]:
        return {"downgrade": {"at": "warning", "to": name}}

    assert _mistakes(a=to("b"), b=to("c"), c=to("b")) == [
        "b.downgrade.to: goes in a circle (b -> c -> b): a call would never arrive",
        "c.downgrade.to: goes in a circle (c -> b -> c): a call would never arrive",
    ]


def test_a_downgrade_says_both_what_and_when() -> None:
    assert _mistakes(default={"downgrade": {"at": "runway"}}) == [
        "default.downgrade.at: 'runway' is not 'warning', 'critical' or 'final'",
        "default.downgrade: 'to' is missing",
    ]


def test_a_downgrade_to_a_broken_alias_is_not_told_as_unknown() -> None:
    assert _mistakes(default={"downgrade": {"at": "final", "to": "small"}}, small={"retries": -1}) == [
        "small.retries: -1 is negative"
    ]


@pytest.mark.parametrize("strategy", ["failover", "round-robin", "least-loaded"])
def test_every_strategy_is_read(strategy: str) -> None:
    assert _models(default={"strategy": strategy})["default"].strategy == strategy


def test_rates_are_whole_numbers_from_one_on_or_null() -> None:
    backend = {"provider": "simulated", "model": "sim-1", "requests_per_minute": 60, "tokens_per_minute": None}
    read = _models(default={"backends": [backend]})["default"].backends[0]
    assert (read.requests_per_minute, read.tokens_per_minute) == (60, None)
    (mistake,) = _mistakes(default={"backends": [backend | {"requests_per_minute": 0}]})
    assert mistake == (
        "default.backends[0].requests_per_minute: 0 is too little: 1 is the least; write null where there is no limit"
    )
