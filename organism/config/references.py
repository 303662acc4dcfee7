"""What stands in a file as ``module:name``; in Python the thing itself may stand for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from organism.config.shapes import BROKEN, Text
from organism.config.tree import Scalar
from organism.errors import ConfigurationError
from organism.loader import load_object

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
                found = load_object(reference, reading.folder)
            return self.made(found)
        except ConfigurationError as error:
            return reading.wrong(node, str(error))

    def made(self, found: Any) -> Any:
        """What is kept of it. Raises ConfigurationError for what cannot stand here."""
        return found
