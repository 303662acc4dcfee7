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
    from collections.abc import Mapping

    from organism.config.tree import Scalar

DECIMAL: Final = r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
"""A number in plain digits, with a fraction or without, as a pattern."""
Kind = Literal["null", "bool", "whole", "decimal", "infinite", "text", "yesno", "number"]

_KINDS: Final[tuple[tuple[Kind, re.Pattern[str]], ...]] = (
    ("null", re.compile(r"~|null|Null|NULL|")),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("yesno", re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")),
    ("whole", re.compile(r"[-+]?(0|[1-9][0-9]*)")),
    ("decimal", re.compile(DECIMAL)),
    ("infinite", re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")),
    ("number", re.compile(
        r"""[-+]?(
            0[0-9_]+(\.[0-9_]*)?                        # 08, 010: octal, decimal or a text
          | [0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?  # 1_000
          | \.[0-9_]+([eE][-+]?[0-9]+)?
          | 0[xX][0-9a-fA-F_]+ | 0o[0-7_]+ | 0b[01_]+
          | [0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?     # 1:30: 90 for a reader of YAML 1.1
        )""",
        re.VERBOSE,
    )),
)  # fmt: skip
"""What YAML readers take an unquoted text for, the first that fits; ``yesno`` and ``number`` where they do not agree."""
_A_NUMBER: Final = "is a number in YAML: quote it to make it a text"
_UNCLEAR: Final[Mapping[Kind, str]] = {
    "null": "is not a value in YAML: quote it",
    "bool": "is true or false in YAML: quote it to make it a text",
    "yesno": "is true or false to some readers of YAML and a text to others: quote it",
    "whole": _A_NUMBER,
    "decimal": _A_NUMBER,
    "infinite": _A_NUMBER,
    "number": "is not the same number to all readers of YAML: write plain digits, or quote it",
}

_EXACT: Final = "a decimal number"
LARGEST: Final = 10**100
"""Whole numbers and seconds end here, far above any use, before arithmetic on them fails."""
LARGEST_EXACT: Final = Decimal(10**15)
"""Exact decimals end here: sums of money keep 10^-12 USD."""


@frozen
class Wrong:
    """Why a scalar, or the file that it names, is not what it should be."""

    problem: str


def kind(text: str) -> Kind:
    """What YAML readers take an unquoted text for; ``yesno`` and ``number`` where they do not agree."""
    for name, pattern in _KINDS:
        if pattern.fullmatch(text):
            return name
    return "text"


def unclear(text: str) -> str | None:
    """What is unclear about an unquoted text that is no plain text, and how to write it; ``None`` where nothing is."""
    why = _UNCLEAR.get(kind(text))
    return why and (f"{shown(text)} {why}" if text else "is empty: quote it")


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
    value = _numeral(scalar, "a whole number", ("whole",))
    if (
        isinstance(value, Decimal)
        and value.is_finite()
        and value.adjusted() <= 100
        and value == value.to_integral_value()
    ):
        value = int(value)  # as amounts of money and of grants are, in a program
    if isinstance(value, float | Decimal):
        return Wrong(f"{shown(value)} is not a whole number{_in_digits(value)}")
    if isinstance(value, Wrong):
        return value
    # Before int(): Python refuses to read thousands of digits.
    if len(value if isinstance(value, str) else hex(value)) > len(str(LARGEST)) or abs(int(value)) > LARGEST:
        return Wrong(f"{shown(value)} is more than 10^100")
    return int(value)


def number(scalar: Scalar) -> float | Wrong:
    """A number that may have a fraction."""
    value = _numeral(scalar, "a number", ("whole", "decimal"))
    if isinstance(value, Wrong):
        return value
    try:
        read = float(value)
    except (OverflowError, ValueError):  # an int above all floats, a signalling NaN
        read = math.inf
    if not abs(read) <= LARGEST:
        return Wrong(f"{shown(value)} is not {'finite' if math.isinf(read) else 'a number below 10^100'}")
    return read


def exact(scalar: Scalar) -> Decimal | Wrong:
    """A decimal number, exactly as written, quoted or not. A Python float counts as its shortest text."""
    value = _numeral(scalar, _EXACT, ("whole", "decimal"))
    if isinstance(value, Wrong):
        return value
    try:
        read = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    except InvalidOperation:  # an exponent beyond all decimals
        return Wrong(f"{shown(value)} is not a decimal number that can be computed with")
    exponent = read.as_tuple().exponent
    if not isinstance(exponent, int):
        return Wrong(f"{shown(value)} is not finite")
    if read.copy_abs() > LARGEST_EXACT:  # abs() would round it, as whoever asks has set his decimals
        return Wrong(f"{shown(value)} is more than 10^15")
    # Written out without an exponent, as money is, it must not fill the memory.
    return read if abs(exponent) <= 100 else Wrong(f"{shown(value)} has too many decimals")


def _numeral(scalar: Scalar, wanted: str, kinds: tuple[Kind, ...]) -> str | int | float | Decimal | Wrong:
    """What is to become a number: a text of one of these kinds, or a number of Python."""
    value = scalar.value
    if not isinstance(value, str):
        is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        return value if is_number else Wrong(f"{shown(value)} is not {wanted}")
    found = kind(value)
    sure = scalar.style == "python" or (scalar.style == "quoted" and wanted != _EXACT)
    if found in kinds and (not sure or wanted == _EXACT):
        return value
    if sure:
        hint = "; remove the quotes" if found in {"whole", "decimal"} else ""
        return Wrong(f"{shown(value)} is a text and not {wanted}{hint}")
    if found == "number":
        return Wrong(f"{shown(value)} is not the same number to all readers of YAML: write {wanted} in plain digits")
    if found == "infinite":
        return Wrong(f"{shown(value)} is not finite")
    way_out = ": write plain digits alone" if found == "text" and any(each.isdigit() for each in value) else ""
    if found == "decimal":
        way_out = _in_digits(Decimal(value))
    return Wrong(f"{shown(value)} is not {wanted}{way_out}")


def _in_digits(value: float | Decimal) -> str:
    """How to write a number that is whole, as a limit may be where the number was computed, or has an exponent."""
    read = Decimal(str(value))
    return (
        f": write {read:.0f}" if read.is_finite() and read.adjusted() < 16 and read == read.to_integral_value() else ""
    )


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
