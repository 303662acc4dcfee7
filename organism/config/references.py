"""What stands in a file as ``module:name``; in Python the thing itself may stand for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from organism.config.shapes import BROKEN, Text
from organism.errors import ConfigurationError
from organism.loader import ImportFailedError, load_object

if TYPE_CHECKING:
    from organism.config.shapes import Broken, Reading
    from organism.config.tree import Node, Scalar


@frozen
class Reference(Text):
    """The object that a reference names; :meth:`made` makes the value of it."""

    form: str = field(default=r"^[^\s:]+:[^\s:]+$", kw_only=True)

    def _value(self, scalar: Scalar, reading: Reading, /) -> Any:
        if scalar.style == "python" and self.may_be(scalar.value):
            return self._made(scalar.value, scalar, reading)
        return super()._value(scalar, reading)

    def _said(self, text: str, scalar: Scalar, reading: Reading, /) -> Any:
        found = loaded(text, scalar, reading)
        return BROKEN if found is BROKEN else self._made(found, scalar, reading)

    def _made(self, found: object, scalar: Scalar, reading: Reading) -> Any:
        try:
            return self.made(found)
        except ConfigurationError as error:
            return _noted(error, scalar, reading)

    def may_be(self, given: object) -> bool:
        """Whether what a program gave may be the thing itself, and no reference to it."""
        return callable(given)

    def made(self, found: Any) -> Any:
        """What is kept of it. Raises ConfigurationError for what cannot stand here."""
        raise NotImplementedError


def loaded(reference: str, node: Node, reading: Reading) -> Any:
    """The object that a reference names; BROKEN after it was noted why there is none. A module that cannot be imported is told where it
    is named first, and not tried again.
    """
    module = reference.partition(":")[0]
    if module in reading.failed:
        return BROKEN
    try:
        return load_object(reference, reading.folder)
    except ImportFailedError as error:
        known = error.cause in reading.failed
        reading.failed |= {module, error.cause}
        return BROKEN if known else _noted(error, node, reading)
    except ConfigurationError as error:
        return _noted(error, node, reading)


def _noted(error: ConfigurationError, node: Node, reading: Reading) -> Broken:
    for problem in error.mistakes:
        reading.wrong(node, problem)
    return BROKEN
