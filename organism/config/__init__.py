"""Configuration: organism.yaml, the layers over it and keyword arguments, to frozen settings.

Every source becomes one tree of values that know their place. It is read by the shapes that the keys are declared with, and every mistake is
noted on the way. What is right beside a mistake is built all the same, so that whatever depends on it alone is checked in the same round; it
leaves the room only where there is no mistake. Nothing is started and nothing is called.

Reading order:

* ``yamlloader``, ``yamltext``, ``scalars`` - YAML; ``layers``: what stands over the file; ``tree``, ``places``: what all of it becomes
* ``shapes``, ``sections`` - what keys are declared with; ``paths``, ``references``, ``wording`` with its ``templates``: shapes of certain values
* ``document`` - the keys at the top. Those below: ``budgets``, ``backends`` with ``recordings``, ``handlers`` with ``failures``; of agents
  ``prompts``, ``tools``, ``compaction``, ``notices``; ``hooks``, ``loops``, ``mcp``, ``journals``, ``start``
* ``drafts``, ``named`` - handlers before it is known whether all of one is right; names of handlers and models, looked at last
* ``ignored`` - what a file says and nothing comes of
* ``schema``, ``meanings`` - the JSON Schema of the file, drawn up from the same shapes; ``keywords``: the keys in Python
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from organism.config.budgets import ACCOUNTS, BUDGET, CEILING, name_problem
from organism.config.document import settings_of, with_models
from organism.config.layers import (
    PREFIX,
    from_python,
    in_python,
    laid,
    overlays_of_environ,
    overlays_of_set,
    overlays_of_table,
)
from organism.config.named import with_decider
from organism.config.places import Mistakes, Place, shown
from organism.config.places import Path as Keys
from organism.config.shapes import Reading, one_of
from organism.config.tree import Table
from organism.config.yamltext import read_file
from organism.errors import ConfigurationError, texts_of
from organism.names import suggestion
from organism.settings import NOTHING, BudgetSettings, HandlerSettings, Quota, Settings, laid_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from organism.config.backends import Checks
    from organism.config.layers import Overlay
    from organism.config.shapes import Shape

_SHARED: Final[Mapping[str, Shape]] = {"ceiling": CEILING, "accounts": ACCOUNTS}

__all__ = ["PREFIX", "account_names", "budget", "budget_over", "build", "load", "quotas"]


def load(
    path: Path,
    *,
    set: Mapping[str, object] = NOTHING,  # noqa: A002 - as on the command line
    environ: Mapping[str, str] = NOTHING,
    written: Callable[[str], str] = in_python,
    checks: Checks | None = None,
    arm: Table | None = None,
) -> Settings:
    """The settings of a file; over it what ``environ`` says in names that begin with ``ORGANISM_``, and over that ``set``.

    ``set`` has dotted paths (``{"budget.tokens": 500}``); a text in it means what its key says it means, and ``written`` is how the
    caller wrote a key of it. ``arm`` is such a mapping in a file of its own, whose places its mistakes name. Relative paths in the file are relative to its folder. ``checks`` look at the backends beside. Raises
    ConfigurationError with every mistake.
    """
    mistakes = Mistakes()
    tree = read_file(path, mistakes)
    over = [*overlays_of_environ(environ, mistakes), *overlays_of_set(set, mistakes, written)]
    if arm is not None:
        over += overlays_of_table(arm, mistakes)
    if tree is None:
        mistakes.raise_any()
        raise AssertionError("a file could not be read, and no mistake was noted")
    return _settings(tree, over, path.parent, mistakes, checks)


def build(
    document: Mapping[str, Any],
    *,
    set: Mapping[str, object] = NOTHING,  # noqa: A002 - as on the command line
    folder: Path | None = None,
    checks: Checks | None = None,
) -> Settings:
    """The settings of keyword arguments: ``document`` has the keys of a file, the name under ``organism``.

    In it, a handler may be an async function, ``code`` may be one too; classes and factories may stand for references to
    them. Without a ``folder``, relative paths are relative to the current directory. Raises ConfigurationError.
    """
    mistakes = Mistakes()
    handlers = document.get("handlers")
    if isinstance(handlers, Mapping):
        named = cast("Mapping[object, object]", handlers)
        as_code = {name: {"code": one} if callable(one) else one for name, one in named.items()}
        document = {**document, "handlers": as_code}
    tree = from_python(document, _argument, mistakes, ())
    assert isinstance(tree, Table)  # noqa: S101 - a mapping becomes a table
    return _settings(tree, overlays_of_set(set, mistakes), folder, mistakes, checks)


def budget(values: Mapping[str, Any]) -> BudgetSettings:
    """The budget of one thread or sub-thread, as given to ``send`` and ``spawn``: only what is named is limited.

    Raises ConfigurationError.
    """
    mistakes = Mistakes()
    node = from_python(values, lambda _: Place(""), mistakes, ("budget",))
    read: BudgetSettings = BUDGET.read(node, Reading(mistakes))
    mistakes.raise_any()
    return read


def budget_over(
    base: BudgetSettings, given: Mapping[str, Any], handlers: Mapping[str, HandlerSettings]
) -> BudgetSettings:
    """A budget with what a program gave over it, key by key. Raises ConfigurationError, also for a ``grants_by`` that cannot decide."""
    return laid_over(base, with_decider(budget(given), handlers), given)


def quotas(path: Path, *, environ: Mapping[str, str] = NOTHING) -> tuple[Quota, Mapping[str, Quota]]:
    """The ceiling that a file has, and the quotas of accounts by name or kind, under what ``environ`` says of them; nothing else of the file
    is looked at, and nothing imported. Raises ConfigurationError.
    """
    mistakes = Mistakes()
    tree = read_file(path, mistakes)
    mistakes.raise_any()
    assert tree is not None  # noqa: S101 - else there was a mistake
    keys = tuple(f"{PREFIX}{key.upper()}" for key in _SHARED)
    said = {name: value for name, value in environ.items() if name.startswith(keys)}
    entries = laid(tree, overlays_of_environ(said, mistakes), mistakes).entries
    reading = Reading(mistakes)
    found: dict[str, Any] = {
        key: shape.read(entries[key].node, reading) for key, shape in _SHARED.items() if key in entries
    }
    mistakes.raise_any()
    return found.get("ceiling", Quota()), found.get("accounts", {})


def account_names(given: Mapping[str, str] | None, settings: Settings, *, place: str = "accounts") -> tuple[str, ...]:
    """The accounts that ``send`` was given (kind to name) as ``kind:name``, in order; ``place`` is where they were given.

    Raises ConfigurationError for those of which organism.yaml knows neither the name nor the kind, and TypeError for what is no text.
    """
    if not given:
        return ()
    names: list[str] = []
    problems: list[str] = []
    for kind, name in texts_of("accounts", given, are="names by kind", such_as={"tenant": "acme"}).items():
        whole = f"{kind}:{name}"
        problem = name_problem(name)
        if problem is None and whole not in settings.accounts and kind not in settings.accounts:
            known = sorted(settings.accounts)
            there = f"; use {one_of(known[:8])}" if known else "; the file has no 'accounts'"
            problem = f"no account of this name or kind is configured{suggestion(whole, known) or suggestion(kind, known) or there}"
        if problem is not None:
            problems.append(f"{place} {shown(whole)}: {problem}")
        names.append(whole)
    if problems:
        raise ConfigurationError(problems)
    return tuple(sorted(names))


def _settings(
    tree: Table, over: Iterable[Overlay], folder: Path | None, mistakes: Mistakes, checks: Checks | None
) -> Settings:
    return settings_of(laid(with_models(tree, mistakes), over, mistakes), folder, mistakes, checks)


def _argument(path: Keys) -> Place:
    """The keyword argument of ``Organism()`` that holds a path."""
    if not path:
        return Place("Organism(...)")
    return Place(f"Organism({'name' if path[0] == 'organism' else path[0]}=...)", says=path[:1])
