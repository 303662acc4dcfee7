"""From settings to a provider, with its key, or to one clear line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from organism import Organism
from organism.errors import ConfigurationError
from organism.models.contract import BackendFactory
from organism.models.readiness import made_ready
from organism.models.simulation.backend import SimulatedModel
from organism.settings import BackendSettings, ModelSettings
from tests.imports import without_library
from tests.models.made import NOW, made

if TYPE_CHECKING:
    from pathlib import Path

PLACE = "organism.yaml:7:9 models.default.backends[0]"
OPENAI = BackendSettings(provider="openai", model="gpt-x", api_key_env="OPENAI_API_KEY", place=PLACE)
LOCAL = evolve(OPENAI, base_url="http://localhost:11434/v1")
KEY = "sk-never-to-be-seen"


class Keyed(SimulatedModel):
    """A provider that shows its key."""

    def __init__(self, settings: BackendSettings, key: str | None) -> None:
        super().__init__()
        self.model = settings.model
        self.key = key


def _keyed(**more: Any) -> BackendSettings:
    factory = BackendFactory(make=Keyed, key_env="USUAL_KEY", **more)
    return BackendSettings(provider="my.own:factory", factory=factory, model="m", place=PLACE)


def _line(settings: BackendSettings, environ: dict[str, str] | None = None) -> str:
    """The one line with which it fails, and which the check says as well."""
    with pytest.raises(ConfigurationError) as caught:
        made(settings, environ)
    (line,) = caught.value.mistakes
    assert line.startswith(f"{PLACE}: ")
    assert KEY not in line
    return line.removeprefix(f"{PLACE}: ")


def test_the_simulated_model_needs_nothing() -> None:
    assert isinstance(made(BackendSettings(provider="simulated", model="sim-1")), SimulatedModel)


def test_wrong_options_are_told_with_their_place() -> None:
    settings = BackendSettings(provider="simulated", model="sim-1", options={"sede": 3}, place=PLACE)
    assert "did you mean 'seed'" in _line(settings)


def test_openai_with_its_key_or_a_server_that_needs_none() -> None:
    for settings, environ in (
        (OPENAI, {"OPENAI_API_KEY": KEY}),
        (LOCAL, {}),
        (LOCAL, {"OPENAI_API_KEY": "  "}),
        (evolve(LOCAL, api_key_env=None), {}),
    ):
        assert type(made(settings, environ)).__name__ == "OpenAIBackend"


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (OPENAI, "OPENAI_API_KEY is not set"),
        (evolve(OPENAI, api_key_env="MY_KEY"), "MY_KEY is not set"),
        (evolve(LOCAL, api_key_env="MY_KEY"), "MY_KEY is not set"),
        (evolve(OPENAI, api_key_env=None), "no key is named"),
    ],
)
def test_a_missing_key_is_one_line_with_the_ways_out(settings: BackendSettings, missing: str) -> None:
    assert _line(settings) == (
        f"no key for 'gpt-x' of provider 'openai': {missing}; set it, or name another variable with `api_key_env` "
        "or a file with `api_key_file`"
    )


def test_the_key_comes_from_the_variable_or_the_file(tmp_path: Path) -> None:
    keys: list[str | None] = []

    def make(settings: BackendSettings, key: str | None) -> Any:
        keys.append(key)
        return Keyed(settings, key)

    (tmp_path / "key").write_text(f"{KEY}\n", "utf-8")
    keyed = evolve(_keyed(), factory=BackendFactory(make=make, key_env="USUAL_KEY"))
    made(evolve(keyed, api_key_file=tmp_path / "key"))
    made(evolve(keyed, api_key_env="MY_KEY"), {"MY_KEY": f" {KEY} "})
    made(keyed, {"USUAL_KEY": KEY})
    assert keys == [KEY, KEY, None]


def test_a_file_without_a_key(tmp_path: Path) -> None:
    assert "cannot be read from" in _line(evolve(_keyed(), api_key_file=tmp_path / "none"))
    (tmp_path / "empty").write_text("\n", "utf-8")
    assert "is empty" in _line(evolve(_keyed(), api_key_file=tmp_path / "empty"))
    (tmp_path / "garbled").write_bytes(b"\xff\xfe")
    assert "cannot be read from" in _line(evolve(_keyed(), api_key_file=tmp_path / "garbled"))


@pytest.mark.parametrize("garbled", [f"{KEY}\nsecond", f"{KEY} and more", f"{KEY}é", f"{KEY}\x00"])
def test_what_is_no_key_is_not_sent_and_not_shown(garbled: str) -> None:
    assert "what MY_KEY holds is not a key" in _line(evolve(OPENAI, api_key_env="MY_KEY"), {"MY_KEY": garbled})


def test_a_function_of_the_settings_is_a_provider_without_a_key() -> None:
    settings = BackendSettings(provider="m:make", factory=lambda said: Keyed(said, None), model="mine", place=PLACE)
    backend: Any = made(settings)
    assert backend.model == "mine"
    assert "gets no key; make it an organism BackendFactory" in _line(
        evolve(settings, api_key_env="MY_KEY"), {"MY_KEY": KEY}
    )


def test_what_cannot_be_called_as_a_provider_is_told_before_it_is_needed() -> None:
    settings = BackendSettings(provider="m:Keyed", factory=Keyed, model="mine", place=PLACE)
    way_out = "an organism BackendFactory(make=...) gets both the settings and a key, a function alone the settings"
    unkeyed = "cannot be called with the settings: missing a required argument: 'key'"
    assert _line(settings) == f"provider 'm:Keyed' {unkeyed}; {way_out}"
    alone: Any = partial(Keyed, key=None)
    both = "cannot be called with the settings and a key: too many positional arguments"
    assert _line(evolve(settings, factory=BackendFactory(make=alone))) == f"provider 'm:Keyed' {both}; {way_out}"


def test_an_unknown_provider() -> None:
    line = _line(BackendSettings(provider="opnai", model="m", place=PLACE))
    assert (
        line
        == "'opnai' is not a provider; did you mean 'openai'?; there are: simulated, openai, anthropic, recorded, package.module:factory"
    )


def test_a_missing_extra_says_what_to_install() -> None:
    with without_library("openai", "organism.models.openai.backend"):
        line = _line(OPENAI, {"OPENAI_API_KEY": KEY})
    assert line == "provider 'openai' needs 'openai', which is not installed; install organism with its extra 'openai'"


def test_a_provider_that_cannot_be_made_says_why_without_the_key() -> None:
    def make(settings: BackendSettings, key: str | None) -> Any:
        raise OSError(f"no route for {key}")

    factory = BackendFactory(make=make)
    settings = BackendSettings(provider="m:f", factory=factory, model="m", api_key_env="MY_KEY", place=PLACE)
    with pytest.raises(ConfigurationError) as caught:
        made(settings, {"MY_KEY": KEY})
    assert caught.value.mistakes == (f"{PLACE}: provider 'm:f' cannot be made: OSError: no route for [key]",)


def test_what_a_provider_says_of_itself_when_it_is_made_has_its_place() -> None:
    def make(settings: BackendSettings, key: str | None) -> Any:
        raise ConfigurationError(["this server is closed on Sundays"])

    assert _line(evolve(_keyed(), factory=BackendFactory(make=make))) == "this server is closed on Sundays"


async def test_an_organism_starts_with_every_mistake_and_where_it_stands() -> None:
    first = BackendSettings(provider="openai", model="m", options={"n": 2, "stream": True}, place="f:7:9 a.backends[1]")
    again = evolve(first, place="f:9:9 b.backends[0]")
    models = {"a": ModelSettings(name="a", backends=(LOCAL, first)), "b": ModelSettings(name="b", backends=(again,))}
    with pytest.raises(ConfigurationError) as caught:
        await made_ready(models, environ={}, at=NOW)
    places = [line.partition(": ")[0] for line in caught.value.mistakes]
    assert places == [first.place] * 3 + [again.place] * 3


def simulated(settings: BackendSettings) -> Any:
    return SimulatedModel()


def openai(settings: BackendSettings) -> Any:
    return SimulatedModel()


@pytest.mark.parametrize("own", [simulated, openai])
async def test_a_provider_of_the_users_own_is_none_of_ours_whatever_it_is_called(own: Any) -> None:
    models = {"default": {"backends": [{"provider": own, "model": "own-7"}]}}
    async with Organism(name="o", models=models) as organism, organism.thread() as thread:
        (backend,) = organism.settings.models["default"].backends
        assert (backend.provider, backend.built_in, backend.api_key_env) == (own.__name__, None, None)
        assert (await thread.complete("Say hello")).text
    # What it costs is not known, and that is not nothing.
    with pytest.raises(ConfigurationError, match=f"no price is known for 'own-7' of provider '{own.__name__}'"):
        Organism(name="o", models=models, budget={"cost_usd": 1})
