"""Configuration: organism.yaml, the layers over it and keyword arguments, to frozen settings.

Every source becomes one tree of values that know their place (``yamltext``, ``scalars``, ``layers``, ``tree``, ``places``). The tree is
read by the shapes that the keys are declared with (``shapes``, ``sections``, ``paths``, ``references``, ``wording`` and its
``templates``), and every mistake is noted on the way. ``document`` declares the keys at the top; ``budgets``, ``backends``,
``handlers``, ``start`` and the other modules those below. Nothing is started and nothing is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from organism.config.budgets import BUDGET, name_problem
from organism.config.document import settings_of, with_models
from organism.config.layers import from_python, laid, overlays_of_environ, overlays_of_set
from organism.config.places import Mistakes, Place, shown
from organism.config.places import Path as Keys
from organism.config.shapes import Reading, one_of
from organism.config.tree import Table
from organism.config.yamltext import read_file
from organism.errors import ConfigurationError
from organism.names import suggestion
from organism.settings import NOTHING, BudgetSettings, Settings

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["account_names", "budget", "build", "load"]


def load(
    path: Path,
    *,
    set: Mapping[str, object] = NOTHING,  # noqa: A002 - as on the command line
    environ: Mapping[str, str] = NOTHING,
) -> Settings:
    """The settings of a file; over it what ``environ`` says in names that begin with ``ORGANISM_``, and over that ``set``.

    ``set`` has dotted paths (``{"budget.tokens": 500}``); a text in it means what its key says it means. Relative paths in
    the file are relative to its folder. Raises ConfigurationError with every mistake.
    """
    mistakes = Mistakes()
    tree = read_file(path, mistakes)
    if tree is None:
        mistakes.raise_any()
        raise AssertionError("a file could not be read, and no mistake was noted")
    return _settings(tree, set, environ, path.parent, mistakes)


def build(
    document: Mapping[str, Any],
    *,
    set: Mapping[str, object] = NOTHING,  # noqa: A002 - as on the command line
    environ: Mapping[str, str] = NOTHING,
    folder: Path | None = None,
) -> Settings:
    """The settings of keyword arguments: ``document`` has the keys of a file, the name under ``organism``.

    In it, a handler may be an async function, ``code`` may be one too; classes and factories may stand for references to
    them. Without a ``folder``, relative paths are relative to the current directory. Raises ConfigurationError.
    """
    mistakes = Mistakes()
    handlers = document.get("handlers")
    if isinstance(handlers, Mapping):
        named = cast("Mapping[object, object]", handlers)
        document = {**document, "handlers": {name: _as_code(one) for name, one in named.items()}}
    tree = from_python(document, _argument, mistakes, ())
    assert isinstance(tree, Table)  # noqa: S101 - a mapping becomes a table
    return _settings(tree, set, environ, folder, mistakes)


def budget(values: Mapping[str, Any]) -> BudgetSettings:
    """The budget of one thread or sub-thread, as given to ``send`` and ``spawn``: only what is named is limited.

    Raises ConfigurationError.
    """
    mistakes = Mistakes()
    node = from_python(values, lambda _: Place(""), mistakes, ("budget",))
    read: BudgetSettings = BUDGET.read(node, Reading(mistakes))
    mistakes.raise_any()
    return read


def account_names(given: Mapping[str, str] | None, settings: Settings, *, place: str = "accounts") -> tuple[str, ...]:
    """The accounts that ``send`` was given (kind to name) as ``kind:name``, in order; ``place`` is where they were given.

    Raises ConfigurationError for those of which organism.yaml knows neither the name nor the kind, and TypeError for what is no text.
    """
    if not given:
        return ()
    names: list[str] = []
    problems: list[str] = []
    for kind, name in dict[Any, Any](given).items():
        if not isinstance(kind, str) or not isinstance(name, str):
            raise TypeError(f"accounts are names by kind, not {kind!r}: {name!r}")
        whole = f"{kind}:{name}"
        problem = name_problem(name)
        if problem is None and whole not in settings.accounts and kind not in settings.accounts:
            known = sorted(settings.accounts)
            there = (
                f"; there is {one_of([shown(each) for each in known[:8]])}" if known else "; the file has no 'accounts'"
            )
            problem = f"no account of this name or kind is configured{suggestion(whole, known) or suggestion(kind, known) or there}"
        if problem is not None:
            problems.append(f"{place} {shown(whole)}: {problem}")
        names.append(whole)
    if problems:
        raise ConfigurationError(problems)
    return tuple(sorted(names))


def _settings(
    tree: Table, sets: Mapping[str, object], environ: Mapping[str, str], folder: Path | None, mistakes: Mistakes
) -> Settings:
    tree = with_models(tree, mistakes)
    tree = laid(tree, overlays_of_environ(environ, mistakes), mistakes)
    tree = laid(tree, overlays_of_set(sets, mistakes), mistakes)
    return settings_of(tree, folder, mistakes)


def _as_code(handler: object) -> object:
    return {"code": handler} if callable(handler) else handler


def _argument(path: Keys) -> Place:
    """The keyword argument of ``Organism()`` that holds a path."""
    if not path:
        return Place("Organism(...)")
    return Place(f"Organism({'name' if path[0] == 'organism' else path[0]}=...)", says=path[:1])
