"""What is loaded when it is first asked for: the names of a package whose modules take longer to load than most who import it need."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def late(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: ``places`` are the modules that its names stand in. Raises AttributeError for other names."""

    def found(name: str) -> Any:
        if name in places:
            return getattr(import_module(places[name]), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return found
