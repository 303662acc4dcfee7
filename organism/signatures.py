"""What a function takes and returns, also where it names what only type checkers know.

Since Python 3.14 annotations are evaluated when they are asked for. Whoever asks :mod:`inspect`, or reads ``__annotations__``, then gets a
NameError for a name below ``if TYPE_CHECKING:``, whichever parameter it is of.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

if sys.version_info >= (3, 14):
    from annotationlib import Format

    _AS_FAR_AS_KNOWN: Final[Mapping[str, Any]] = {"annotation_format": Format.FORWARDREF}
else:  # what is evaluated there has been so long since
    _AS_FAR_AS_KNOWN: Final[Mapping[str, Any]] = {}


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Its signature. An annotation with a name that nobody knows stays a text or a ForwardRef, which :func:`typing.get_type_hints` takes.
    Raises TypeError or ValueError where there is none.
    """
    return inspect.signature(function, **_AS_FAR_AS_KNOWN)


def as_written(annotation: object) -> str | None:
    """The text of an annotation that is not evaluated; ``None`` of one that is."""
    text = getattr(annotation, "__forward_arg__", annotation)
    return text if isinstance(text, str) else None
