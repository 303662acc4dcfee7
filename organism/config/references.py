"""What stands in a file as ``module:name``; in Python the thing itself may stand for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from organism.config.shapes import BROKEN, Text
from organism.config.tree import Scalar
from organism.errors import ConfigurationError
from organism.loader import ImportFailedError, load_object

if TYPE_CHECKING:
    from organism.config.shapes import Reading
    from organism.config.tree import Node


@frozen
class Reference(Text):
    """The object that a reference names; :meth:`made` makes the value of it."""

    def read(self, node: Node, reading: Reading) -> Any:
        """The value; BROKEN after a mistake was noted."""
        found: Any
        try:
            if isinstance(node, Scalar) and node.style == "python" and callable(node.value):
                found = node.value
            else:
                reference = super().read(node, reading)
                if reference is BROKEN:
                    return BROKEN
                found = loaded(reference, node, reading)
            return BROKEN if found is BROKEN else self.made(found)
        except ConfigurationError as error:
            for problem in error.mistakes:
                reading.wrong(node, problem)
            return BROKEN

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
        return BROKEN if known else reading.wrong(node, str(error))
    except ConfigurationError as error:
        return reading.wrong(node, str(error))
