"""From settings to a provider, with its key, or to one clear line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from organism.errors import ConfigurationError
from organism.models.contract import BackendFactory
from organism.models.factories import check_backends
from organism.models.providers import make_backend
from organism.models.simulation.backend import SimulatedModel
from organism.settings import BackendSettings, ModelSettings
from tests.imports import without_library

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
        make_backend(settings, environ=environ or {})
    models = {"default": ModelSettings(name="default", backends=(settings,))}
    assert check_backends(models, environ=environ or {}) == list(caught.value.mistakes)
    (line,) = caught.value.mistakes
    assert line.startswith(f"{PLACE}: ")
    assert KEY not in line
    return line.removeprefix(f"{PLACE}: ")


def test_the_simulated_model_needs_nothing() -> None:
    assert isinstance(make_backend(BackendSettings(provider="simulated", model="sim-1"), environ={}), SimulatedModel)


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
        assert type(make_backend(settings, environ=environ)).__name__ == "OpenAIBackend"


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
    (tmp_path / "key").write_text(f"{KEY}\n", "utf-8")
    from_file = evolve(_keyed(), api_key_file=tmp_path / "key")
    from_variable = evolve(_keyed(), api_key_env="MY_KEY")
    for settings, environ, key in (
        (from_file, {}, KEY),
        (from_variable, {"MY_KEY": f" {KEY} "}, KEY),
        (_keyed(), {"USUAL_KEY": KEY}, None),
    ):
        made: Any = make_backend(settings, environ=environ)
        assert (made.model, made.key) == ("m", key)


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
    made: Any = make_backend(settings, environ={})
    assert made.model == "mine"
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
        make_backend(settings, environ={"MY_KEY": KEY})
    assert caught.value.mistakes == (f"{PLACE}: provider 'm:f' cannot be made: OSError: no route for [key]",)


def test_the_check_tells_every_mistake_and_where_it_stands() -> None:
    wrong = BackendSettings(provider="openai", model="m", options={"n": 2, "stream": True})
    models = {"a": ModelSettings(name="a", backends=(LOCAL, wrong)), "b": ModelSettings(name="b", backends=(wrong,))}
    places = [line.partition(": ")[0] for line in check_backends(models, environ={})]
    assert places == ["models.a.backends[1]"] * 3 + ["models.b.backends[0]"] * 3
