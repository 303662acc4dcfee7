"""A folder with an organism.yaml and the code beside it, for every test that wants one."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from organism import config
from organism.errors import ConfigurationError
from tests.config.editor import underlined

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.settings import Settings


DESK = '''
    """What a user writes beside organism.yaml."""

    from __future__ import annotations

    from decimal import Decimal
    from typing import TYPE_CHECKING

    from organism.payloads import payload

    if TYPE_CHECKING:
        from organism import Context


    @payload
    class Question:
        """A question."""

        text: str
        copies: int = 1
        price: Decimal | None = None
        share: float | None = None
        tags: list[str] = []


    @payload
    class Answer:
        text: str


    async def look(question: Question, ctx: Context) -> None:
        """Looks it up."""


    async def mute(question: Question, ctx: Context) -> None:
        pass


    def plain(question: Question, ctx: Context) -> None:
        """Waits for nothing."""
'''


class Project:
    """A folder with an organism.yaml and the code beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "organism.yaml"
        self._before = frozenset(sys.modules)
        self.write("desk.py", DESK)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).lstrip("\n").encode())
        return path

    def load(self, text: str | bytes, **layers: Mapping[str, Any]) -> Settings:
        self.write("organism.yaml", text)
        over, environ = layers.get("set", {}), layers.get("environ", {})
        settings = config.load(self.file, set=over, environ=environ, written="--set {}".format)
        if not over and not environ:
            assert underlined(self.file.read_text("utf-8-sig")) == [], "an editor would find fault with it"
        return settings

    def mistakes(self, text: str | bytes, **layers: Mapping[str, Any]) -> list[str]:
        """The lines of the mistakes, the folder cut off."""
        return [line.replace(f"{self.folder}/", "") for line in self.wrong(text, **layers).mistakes]

    def wrong(self, text: str | bytes, **layers: Mapping[str, Any]) -> ConfigurationError:
        try:
            settings = self.load(text, **layers)
        except ConfigurationError as error:
            return error
        raise AssertionError(f"no mistake was found: {settings}")

    def forget(self) -> None:
        """Takes what was loaded from the folder out of Python again."""
        # Only what has come since is looked at: there are thousands of modules. First all that are there: the path of an open
        # package cannot be read any more once the one above it is gone.
        come = {name: vars(one) for name, one in sys.modules.items() if name not in self._before}
        places = {name: [known.get("__file__"), *known.get("__path__", [])] for name, known in come.items()}
        for name, known in places.items():
            if any(place and Path(place).is_relative_to(self.folder) for place in known):
                del sys.modules[name]
        sys.path[:] = [entry for entry in sys.path if not Path(entry).is_relative_to(self.folder)]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.forget()
