"""The section ``hooks``: which functions are asked at which point (:mod:`organism.hooks`)."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, frozen

from organism.config.places import shown
from organism.config.references import Reference
from organism.config.sections import ListOf, Record
from organism.errors import ConfigurationError
from organism.names import told
from organism.points import POINTS
from organism.signatures import signature_of

if TYPE_CHECKING:
    from organism.settings import Settings

_SHAPE: Final = "a hook is 'def hook(event, ctx)', plain or async"


@frozen
class _HookShape(Reference):
    """``module:name``, or the function itself in Python."""

    wanted: str = "a reference to a hook, as in 'module:name'"

    def made(self, found: Any) -> Any:
        _check_hook(found)
        return found


def _check_hook(found: object) -> None:
    """Raises ConfigurationError for what is no hook."""
    name = shown(getattr(found, "__qualname__", None) or type(found).__name__)
    if not callable(found) or isinstance(found, type):
        raise ConfigurationError([f"{name} is not a function: {_SHAPE}"])
    try:
        signature_of(found).bind(None, None)
    except (TypeError, ValueError) as error:
        raise ConfigurationError([f"{name} cannot be called as a hook ({error}): {_SHAPE}"]) from None


def with_hook(settings: Settings, point: str, hook: object) -> Settings:
    """Settings with another hook at a point, after those that it has. Raises ConfigurationError for what is no point or no hook."""
    if point not in POINTS:
        raise ConfigurationError([f"{told(point)} is not a point; there are: {', '.join(POINTS)}"])
    _check_hook(hook)
    hooks: Any = {**settings.hooks, point: (*settings.hooks.get(point, ()), hook)}
    return evolve(settings, hooks=MappingProxyType(hooks))


HOOKS: Final = Record(
    {point: ListOf(_HookShape(), single=True) for point in POINTS},
    named=("hooks",),
    make=lambda section: MappingProxyType(section.values),
)
