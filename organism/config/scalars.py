"""What the text of a scalar means.

YAML readers do not agree on ``no``, ``08``, ``1_000`` or ``1:30``. Such texts are refused with what to write instead, and
numbers are read from the text itself, so that an amount of money never passes through a float.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import frozen

from organism.config.places import shown

if TYPE_CHECKING:
    from organism.config.tree import Scalar

Kind = Literal["null", "bool", "whole", "decimal", "infinite", "text", "yesno", "number"]

_NULL: Final = re.compile(r"~|null|Null|NULL|")
_BOOL: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_YESNO: Final = re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")
_WHOLE: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL: Final = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NUMBER: Final = re.compile(
    r"""[-+]?(
        0[0-9_]+(\.[0-9_]*)?                        # 08, 010: octal, decimal or a text
      | [0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?  # 1_000
      | \.[0-9_]+([eE][-+]?[0-9]+)?
      | 0[xX][0-9a-fA-F_]+ | 0o[0-7_]+ | 0b[01_]+
      | [0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?     # 1:30: 90 for a reader of YAML 1.1
    )""",
    re.VERBOSE,
)

LARGEST: Final = 10**100
"""Whole numbers and seconds end here, far above any use, before arithmetic on them fails."""
LARGEST_EXACT: Final = Decimal(10**15)
"""Exact decimals end here: sums of money keep 10^-12 USD."""


@frozen
class Wrong:
    """Why a scalar, or the file that it names, is not what it should be."""

    problem: str


def kind(text: str) -> Kind:  # noqa: PLR0911 - one line a kind
    """What YAML readers take an unquoted text for; ``yesno`` and ``number`` where they do not agree."""
    if _NULL.fullmatch(text):
        return "null"
    if _BOOL.fullmatch(text):
        return "bool"
    if _YESNO.fullmatch(text):
        return "yesno"
    if _WHOLE.fullmatch(text):
        return "whole"
    if _DECIMAL.fullmatch(text):
        return "decimal"
    if _INFINITE.fullmatch(text):
        return "infinite"
    return "number" if _NUMBER.fullmatch(text) else "text"


def unclear(text: str) -> str | None:
    """What is unclear about an unquoted text that is no plain text, and how to write it; ``None`` where nothing is."""
    match kind(text):
        case "yesno":
            return f"{shown(text)} is true or false to some readers of YAML and a text to others: quote it"
        case "number":
            return f"{shown(text)} is not the same number to all readers of YAML: write plain digits, or quote it"
        case "null":
            return f"{shown(text)} is not a value in YAML: quote it" if text else "is empty: quote it"
        case "bool":
            return f"{shown(text)} is true or false in YAML: quote it to make it a text"
        case "whole" | "decimal" | "infinite":
            return f"{shown(text)} is a number in YAML: quote it to make it a text"
        case "text":
            return None


def is_null(scalar: Scalar) -> bool:
    """Whether it says that there is no value."""
    match scalar.style:
        case "plain":
            return kind(scalar.value) == "null"
        case "given":
            return scalar.value in {"null", "~"}
        case "quoted":
            return False
        case "python":
            return scalar.value is None


def text(scalar: Scalar) -> str | Wrong:
    """A text."""
    value = scalar.value
    if not isinstance(value, str):
        return Wrong(f"{shown(value)} is not a text")
    problem = unclear(value) if scalar.style == "plain" else None
    if problem is not None:
        return Wrong(problem)
    # A surrogate comes from an escape in the file or from bytes of the environment that are no UTF-8; nothing can write it.
    if any("\ud800" <= character <= "\udfff" for character in value):
        return Wrong(f"{shown(value)} holds half a character (a lone surrogate)")
    return value


def whole(scalar: Scalar) -> int | Wrong:
    """A whole number."""
    value = scalar.value
    if (
        isinstance(value, Decimal)
        and value.is_finite()
        and value.adjusted() <= 100
        and value == value.to_integral_value()
    ):
        value = int(value)  # as amounts of money and of grants are, in a program
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return Wrong(f"{shown(value)} is not a whole number")
    if isinstance(value, str):
        wrong = _no_digits(scalar, "a whole number")
        if wrong is not None:
            return wrong
        if kind(value) != "whole":
            return Wrong(f"{shown(value)} is not a whole number")
    # Before int(): Python refuses to read thousands of digits.
    if len(str(value) if isinstance(value, str) else hex(value)) > len(str(LARGEST)) or abs(int(value)) > LARGEST:
        return Wrong(f"{shown(value)} is more than 10^100")
    return int(value)


def number(scalar: Scalar) -> float | Wrong:
    """A number that may have a fraction."""
    value = scalar.value
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return Wrong(f"{shown(value)} is not a number")
    if isinstance(value, str):
        wrong = _no_digits(scalar, "a number")
        if wrong is not None:
            return wrong
        if kind(value) not in {"whole", "decimal"}:
            return Wrong(f"{shown(value)} is not a number")
    try:
        read = float(value)
    except (OverflowError, ValueError):  # an int above all floats, a signalling NaN
        read = math.inf
    if not abs(read) <= LARGEST:
        return Wrong(
            f"{shown(value)} is not finite" if math.isinf(read) else f"{shown(value)} is not a number below 10^100"
        )
    return read


def exact(scalar: Scalar) -> Decimal | Wrong:
    """A decimal number, exactly as written, quoted or not. A Python float counts as its shortest text."""
    value = scalar.value
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        return Wrong(f"{shown(value)} is not a decimal number")
    if isinstance(value, str) and kind(value) not in {"whole", "decimal"}:
        return _no_digits(scalar, "a decimal number") or Wrong(f"{shown(value)} is not a decimal number")
    try:
        read = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:  # an exponent beyond all decimals
        return Wrong(f"{shown(value)} is not a decimal number that can be computed with")
    if not read.is_finite():
        return Wrong(f"{shown(value)} is not finite")
    if read.copy_abs() > LARGEST_EXACT:  # abs() would round it, as whoever asks has set his decimals
        return Wrong(f"{shown(value)} is more than 10^15")
    exponent = read.as_tuple().exponent
    # Written out without an exponent, as money is, it must not fill the memory.
    return (
        read if isinstance(exponent, int) and abs(exponent) <= 100 else Wrong(f"{shown(value)} has too many decimals")
    )


def _no_digits(scalar: Scalar, wanted: str) -> Wrong | None:
    """Why a text cannot be a number, before its digits are looked at."""
    value: str = scalar.value
    if scalar.style == "python" or (scalar.style == "quoted" and wanted != "a decimal number"):
        hint = "; remove the quotes" if kind(value) in {"whole", "decimal"} else ""
        return Wrong(f"{shown(value)} is a text and not {wanted}{hint}")
    if kind(value) == "number":
        return Wrong(f"{shown(value)} is not the same number to all readers of YAML: write {wanted} in plain digits")
    if kind(value) == "infinite":
        return Wrong(f"{shown(value)} is not finite")
    return None


def anything(scalar: Scalar) -> Any | Wrong:  # noqa: PLR0911 - one line a kind
    """A value whose key does not say what it should be: null, bool, int, Decimal or text, as YAML 1.2 has it.

    A Python value is itself.
    """
    value = scalar.value
    if scalar.style == "python":
        return value
    if scalar.style == "quoted" or value == "":
        return None if scalar.style == "plain" else text(scalar)
    match kind(value):
        case "null":
            return None
        case "bool":
            return value[0] in "tT"
        case "whole":
            return whole(scalar)
        case "decimal":
            return exact(scalar)
        case "infinite":
            return Wrong(f"{shown(value)} is not finite")
        case "text" | "yesno" | "number":
            return text(scalar)
