"""What is wrong with a text in Jinja2: its syntax, names and attributes that nothing has, and what fails when it is tried.

It loads Jinja2, and is loaded with the first text there is. ``line`` is what is written before the number of a line: the path of
the text's file, where it has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment

from organism.config.places import shown
from organism.config.scalars import Wrong
from organism.config.shapes import one_of
from organism.names import suggestion
from organism.settings import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class _Any(dict[str, Any]):
    """Functions by any name."""

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ARG002 - as of every dict
        """One that stands for them all."""
        return str


_GUARDS: Final = {"defined", "undefined", "default", "d"}
"""Tests and filters that bear a name that is not there."""
_SYNTAX: Final = SandboxedEnvironment()
"""Knows what Jinja2 has; it holds no state of an organism."""
_NAMES: Final = SandboxedEnvironment()
"""Only parses; filters and tests it knows by any name, so that those that there are not keep no others from being told."""
_NAMES.filters, _NAMES.tests = _Any(), _Any()
_TRIAL: Final = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
_ENTRY: Final = ("name", "description")
"""What peers and payloads have in a prompt."""
_LISTS: Final = ("peers", "accepts", "replies")


def wrong_in(text: str, names: tuple[str, ...], line: str, *, prompt: bool) -> Sequence[str] | Wrong:
    """What is wrong with a text: filters, tests and names that there are not, other files, and of a prompt attributes that its names do
    not have; or why it cannot be understood.
    """
    try:
        tree = _NAMES.parse(text)
        parts = _wrong_attributes(tree, line) if prompt else ()
        return [*_unknown_parts(tree, line), *_unknown_names(tree, text, names, line), *parts]
    except TemplateSyntaxError as error:
        return Wrong(f"{line}{error.lineno}: {(error.message or '').rstrip('.')}")
    except RecursionError:
        return Wrong(f"{line}1: nested too deep for Jinja2")


def line_of(name: str, text: str) -> int | None:
    """The first line of a wording that needs this name; ``None`` where it gets by without, as by ``is defined``."""
    tree = _NAMES.parse(text)
    if name not in meta.find_undeclared_variables(tree):
        return None
    guards = [each for each in tree.find_all((nodes.Test, nodes.Filter)) if each.name in _GUARDS]
    if any(isinstance(each.node, nodes.Name) and each.node.name == name for each in guards):
        return None
    return min(
        (each.lineno for each in tree.find_all(nodes.Name) if each.name == name and each.ctx == "load"), default=1
    )


def _unknown_names(tree: nodes.Template, text: str, names: tuple[str, ...], line: str) -> Iterator[str]:
    """The names in a wording that nothing defines."""
    undefined = meta.find_undeclared_variables(tree) - set(names) - set(_SYNTAX.globals)
    for at, name in sorted((at, name) for name in undefined if (at := line_of(name, text)) is not None):
        yield f"{line}{at}: nothing is called {shown(name)} here{suggestion(name, names)}; use {one_of(names)}"


def _unknown_parts(tree: nodes.Template, line: str) -> Iterator[str]:
    """The filters and tests that there are not, and other files."""
    for node in tree.find_all((nodes.Filter, nodes.Test, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)):
        problem = _unknown(node)
        if problem is not None:
            yield f"{line}{node.lineno}: {problem}"


def _unknown(node: nodes.Node) -> str | None:
    """What would fail only when the text is rendered: filters and tests that there are not, and other files."""
    match node:
        case nodes.Filter(name=name):
            return (
                None
                if name in _SYNTAX.filters
                else f"there is no filter {shown(name)}{suggestion(name, _SYNTAX.filters)}"
            )
        case nodes.Test(name=name):
            return None if name in _SYNTAX.tests else f"there is no test {shown(name)}{suggestion(name, _SYNTAX.tests)}"
        case _:
            return "it cannot take in another file: write it in one"


# Prompts


def _wrong_attributes(tree: nodes.Template, line: str) -> Iterator[str]:
    """The attributes of limits, peers and payloads that there are not, also in a branch that the trial does not take."""
    known: dict[str, Sequence[str]] = {"budget": UNITS}
    for loop in tree.find_all(nodes.For):
        if isinstance(loop.iter, nodes.Name) and loop.iter.name in _LISTS and isinstance(loop.target, nodes.Name):
            known[loop.target.name] = _ENTRY
    for name, attribute, at in _attributes(tree):
        if name in known and attribute not in known[name] and not hasattr({}, attribute):
            hint = suggestion(attribute, known[name])
            there = one_of([*known[name]])
            yield f"{line}{at}: {shown(name)} has no {shown(attribute)}{hint}; use {there}"


def _attributes(tree: nodes.Template) -> Iterator[tuple[str, str, int]]:
    """The attributes that are read of names: the name, the attribute and the line."""
    for read in tree.find_all(nodes.Getattr):
        if isinstance(read.node, nodes.Name):
            yield read.node.name, read.attr, read.lineno
    for item in tree.find_all(nodes.Getitem):
        if isinstance(item.node, nodes.Name) and isinstance(item.arg, nodes.Const) and isinstance(item.arg.value, str):
            yield item.node.name, item.arg.value, item.lineno


def failing(text: str, line: str, samples: Mapping[str, Any], late: Iterable[str]) -> str | None:
    """What fails when the prompt is rendered with sample values; but for what is computed with names whose values come ``late``."""
    try:
        _TRIAL.from_string(text).render(samples)
    except TemplateError as error:
        return f"{line}{_line_in(error)}: {error.message or type(error).__name__}"
    except RecursionError:
        return f"{line}1: it never ends"
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if any(line_of(name, text) is not None for name in late):
            return None
        return f"{line}{_line_in(error)}: {str(error) or type(error).__name__}"
    return None


def _line_in(error: BaseException) -> int:
    """The line of the template at which it failed."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
