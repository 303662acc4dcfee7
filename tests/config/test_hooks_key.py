"""``hooks``: which functions are asked where, and what is said of those that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from organism import ConfigurationError
from organism.config import load

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
organism: test
handlers:
  worker: {code: hooked_things:worker}
hooks:
  on_message: [hooked_things:hook, hooked_things:hok]
  before_model_call: hooked_things:worker_class
  after_tool: hooked_things:narrow
  on_start: hooked_things:hook
"""
MODULE = '''\
from organism import payload


@payload
class Task:
    """To do."""

    text: str


class worker_class:
    pass


async def worker(task: Task, ctx) -> None:
    """Works."""


def hook(event, ctx):
    return None


def narrow(event):
    return None
'''


def test_every_mistake_in_hooks_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "hooked_things.py").write_text(MODULE)
    file = tmp_path / "organism.yaml"
    file.write_text(FILE)
    with pytest.raises(ConfigurationError) as wrong:
        load(file, set={}, environ={})
    said = [line.partition("organism.yaml:")[2] for line in wrong.value.mistakes]
    assert said == [
        "5:36 hooks.on_message[1]: module 'hooked_things' has no 'hok'; did you mean 'hook'?",
        "6:22 hooks.before_model_call: 'worker_class' is not a function: a hook is 'def hook(event, ctx)', plain or async",
        (
            "7:15 hooks.after_tool: 'narrow' cannot be called as a hook (too many positional arguments): "
            "a hook is 'def hook(event, ctx)', plain or async"
        ),
        "8:3 hooks.on_start: unknown key; did you mean 'on_abort'?",
    ]
