"""What tests need to know where the kernel and the budget rules are compiled (`make compiled`)."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from typing import Any, Final

import pytest

from organism.kernel import hop

COMPILED: Final = not isinstance(hop.__loader__, SourceFileLoader)
interpreted: Final = pytest.mark.skipif(COMPILED, reason="a call from C to C cannot be replaced")


def slots_of(kind: type) -> tuple[str, ...]:
    """The attributes of a class that names them; a compiled one has them elsewhere."""
    named: Any = vars(kind).get("__slots__") or vars(kind)["__mypyc_attrs__"]
    return tuple(named)


__all__ = ["COMPILED", "interpreted", "slots_of"]
