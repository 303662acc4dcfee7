"""Laws: whatever a file, a layer or an argument holds, it gives settings or mistakes, and nothing else."""

from __future__ import annotations

import string
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from organism import config
from organism.config import scalars
from organism.config.places import Mistakes, Place, dotted
from organism.config.tree import Scalar, Style
from organism.errors import ConfigurationError
from organism.payloads import payload
from organism.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILE = """
organism: demo
defaults: &shared {timeout: 5}
budget: {tokens: 100, cost_usd: 0.5, warn_at: [0.5, 0.9], grace: {share: 0.1}, notify: [agent]}
ceiling: {tokens: 1000, window: run}
models:
  default:
    retries: 1
    backoff: [0.5, 2]
    backends:
      - {provider: openai, model: "m", base_url: http://localhost:1/v1, api_key_env: KEY, price: {input: 1, output: 2}}
handlers:
  look: {code: law_desk:look, peers: [think], budget: {seconds: 5}, per: thread, options: {a: [1, 0.5, x, true]}}
  think:
    <<: *shared
    description: "Thinks."
    agent: {accepts: law_desk:Question, replies: [law_desk:Question], prompt: "{{ name }}", notices: {warning: a}}
journal: "memory:"
"""


@payload
class Question:
    text: str


async def look(question: Question, ctx: object) -> None:
    """Looks it up."""


CODE = '''
from organism.payloads import payload

@payload
class Question:
    text: str

async def look(question: Question, ctx: object) -> None:
    """Looks it up."""
'''


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "law_desk.py").write_text(CODE)
        yield Path(name)


def _holds(make: Callable[[], object]) -> None:
    """Settings, or mistakes that are each one line with a place, and could be printed anywhere."""
    try:
        made = make()
    except ConfigurationError as error:
        mistakes = error.mistakes
    else:
        assert isinstance(made, Settings)
        return
    assert mistakes
    assert len(set(mistakes)) == len(mistakes)
    for line in mistakes:
        assert line.isprintable(), line
        assert ": " in line
        assert line.encode()


def _changed(data: bytes, changes: list[tuple[float, float, bytes]]) -> bytes:
    for at, length, new in changes:
        start = int(at * len(data))
        data = data[:start] + new + data[start + int(length * 40) :]
    return data


_SHARE = st.floats(0, 1, exclude_max=True)
_PIECES = st.sampled_from(
    [
        b"no",
        b": ",
        b"\n",
        b"\n  ",
        b"- ",
        b"[",
        b"{",
        b"}",
        b"&a ",
        b"*a",
        b"!x ",
        b"|\n",
        b'"',
        b"\t",
        b"---\n",
        b"08",
        b"-1",
        b".nan",
        b"null",
        b"1e999",
        b"<<: ",
        b"\xff",
        b"\x00",
        b"\xe2\x80\xa8",
        b'"\\ud800"',
        b"? ",
        b"%",
        b"organism",
        b"''",
    ]
)


@settings(max_examples=100)
@given(st.lists(st.tuples(_SHARE, _SHARE, _PIECES | st.binary(max_size=4)), min_size=1, max_size=4))
def test_a_file_that_was_changed_anywhere(folder: Path, changes: list[tuple[float, float, bytes]]) -> None:
    path = folder / "organism.yaml"
    path.write_bytes(_changed(FILE.encode(), changes))
    _holds(lambda: config.load(path))


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.builds(pow, st.sampled_from([10, -10]), st.sampled_from([19, 101, 401, 5000])),
    st.floats(),
    st.decimals(),
    st.text(max_size=8),
    st.sampled_from(["no", "08", "{{", "{%", "x.md", "a:b", "law_desk:look", "\0", "x" * 5000, "sk-1", "\ud800"]),
    st.sampled_from([object, object(), look, Question, b"x", {1, 2}, Decimal("sNaN"), [], {}, (), {5: 6}]),
)
_VALUE = st.recursive(
    _ODD,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["tokens", "to", "agent", "a", ""]), inner, max_size=3)
    ),
    max_leaves=5,
)


def _paths(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if path:
        yield path
    pairs: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from _paths(inner, (*path, str(key)))


def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(FILE.replace("law_desk:Question", "Q").replace("law_desk:look", "L"))
    document["handlers"]["look"]["code"] = look
    document["handlers"]["think"]["agent"].update(accepts=Question, replies=[Question])
    return document


def test_the_unchanged_document_is_right(folder: Path) -> None:
    path = folder / "organism.yaml"
    path.write_text(FILE)
    loaded, built = config.load(path), config.build(_document())
    assert (loaded.budget, loaded.ceiling) == (built.budget, built.ceiling)
    assert loaded.handlers["look"].options == built.handlers["look"].options
    assert loaded.models["default"].backends[0].price == built.models["default"].backends[0].price


_PATHS = [".".join(path) for path in _paths(_document())]


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(_PATHS), _VALUE, min_size=1, max_size=3))
def test_values_of_any_kind_anywhere(sets: dict[str, object]) -> None:
    _holds(lambda: config.build(_document(), set=sets))


@settings(max_examples=60)
@given(
    st.dictionaries(st.text(max_size=12) | st.sampled_from(_PATHS).map(lambda path: path + ".x"), st.text(max_size=12)),
    st.dictionaries(
        st.builds("ORGANISM_{}".format, st.text(string.ascii_uppercase + "_01", max_size=12)), st.text(max_size=12)
    ),
)
def test_layers_of_any_kind(folder: Path, sets: dict[str, object], environ: dict[str, str]) -> None:
    path = folder / "layers.yaml"
    path.write_text(FILE)
    _holds(lambda: config.load(path, set=sets, environ=environ))


@settings(max_examples=25)
@given(_VALUE)
def test_arguments_of_any_kind(value: object) -> None:
    for key in ("organism", "handlers", "models", "budget", "defaults", "start", "unknown"):
        document = {**_document(), key: value}
        _holds(lambda document=document: config.build(document))  # type: ignore[misc]


@given(st.decimals(0, 10**15, allow_nan=False, places=12) | st.decimals(0, 1, allow_nan=False, places=90))
@example(Decimal("0.1"))
def test_money_is_exactly_what_was_written(amount: Decimal) -> None:
    text = format(amount, "f")
    styles: tuple[Style, ...] = ("plain", "quoted", "given")
    for style in styles:
        scalar = Scalar(text, style, Place(""), ())
        assert scalars.exact(scalar) == Decimal(text)


@given(st.integers(-(10**30), 10**30))
def test_a_whole_number_is_what_was_written(number: int) -> None:
    assert scalars.whole(Scalar(str(number), "plain", Place(""), ())) == number


@settings(max_examples=200)
@given(st.text("0123456789_.:eE+-xob", max_size=6) | st.text("nulNUyesYonOfFTtraiI.~", max_size=5) | st.text())
def test_an_unquoted_text_is_clear_or_refused(text: str) -> None:
    """What pyyaml takes for a text is one for us too, or is refused as unclear: never the other way round."""
    resolver = yaml.SafeLoader("")
    tag: str = resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    if scalars.unclear(text) is None and not _moment(text):
        assert tag == "tag:yaml.org,2002:str" or text in {"=", "<<", "*", "&", "!"}


def _moment(text: str) -> bool:
    """Dates and times are texts: no key of ours is a date."""
    return text[:4].isdigit()


@given(st.lists(st.text(max_size=5) | st.integers(0, 9), max_size=4))
def test_a_path_is_one_line(path: list[str | int]) -> None:
    mistakes = Mistakes()
    mistakes.note(Place("file", line=1, column=1), tuple(path), "is wrong")
    with pytest.raises(ConfigurationError) as caught:
        mistakes.raise_any()
    assert caught.value.mistakes[0].isprintable()
    assert dotted(("handlers", "writer", "peers", 0)) == "handlers.writer.peers[0]"
