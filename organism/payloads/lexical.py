"""How scalars are written as text: one lexical form for the XSD, for both readers and for JSON Schema.

Each form is chosen so that the XSD accepts exactly the texts that can be read: the patterns below are written in what
XSD, Python and ECMAScript regular expressions have in common, and what a pattern cannot say (that a float is finite,
that February has 28 days) is said by the built-in type under it.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from attrs import frozen

from organism.payloads.types import Scalar

SPACE: Final = " \t\n\r"
"""What XML calls white space; numbers and dates may stand between it."""

MAX_INT_DIGITS: Final = 4300
"""Python does not read longer integers from text, since that takes quadratic time."""
MAX_EXPONENT: Final = 9999
"""A Decimal may have any number of digits, and an exponent from minus this to this."""

_INTEGER: Final = rf"[+\-]?[0-9]{{1,{MAX_INT_DIGITS}}}"
_FLOAT: Final = r"[+\-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+\-]?[0-9]+)?"
# With a fraction of 9,000 digits and an exponent of -999 the exponent of the value is -9,999: every text that fits the
# pattern has an exponent within MAX_EXPONENT, and the first form can write each of these values.
_DECIMAL: Final = (
    r"[+\-]?[0-9]+([eE][+\-]?[0-9]{1,4})?|[+\-]?([0-9]+\.[0-9]{0,9000}|\.[0-9]{1,9000})([eE][+\-]?[0-9]{1,3})?"
)
_DATETIME: Final = (
    r"(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+\-](0[0-9]|1[0-3]):[0-5][0-9]|[+\-]14:00)"
)
_BASE64: Final = r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?"


@frozen(kw_only=True)
class Lexis:
    """The texts of a scalar.

    ``write`` gives the text of a value in its normal form. ``read`` gives the value of a text that fits ``pattern``
    after white space around it was taken off, and may still raise ValueError. ``form`` says what is expected, for people.
    ``base``, ``pattern_xsd`` and ``facets`` are the XSD type; without a pattern it is the built-in type ``base``.
    """

    base: str
    write: Callable[[Any], str]
    read: Callable[[str], Any]
    form: str
    pattern: re.Pattern[str]
    pattern_xsd: str | None = None
    facets: tuple[tuple[str, str], ...] = ()


def decimal_text(value: Decimal) -> str:
    """The shortest of the forms that the pattern allows; keeps the exponent and the sign of zero."""
    text = str(value)
    if len(text) < 100 and "E" not in text and "e" not in text:
        return text
    if _DECIMAL_FORM.fullmatch(text):
        return text
    sign, digits, exponent = value.as_tuple()
    return f"{'-' if sign else ''}{''.join(map(str, digits))}E{exponent}"


def _boolean_text(value: bool) -> str:  # noqa: FBT001 - the value is what it is about
    return "true" if value else "false"


def bytes_text(value: bytes) -> str:
    """Base64 without line breaks."""
    return b2a_base64(value, newline=False).decode("ascii")


_DECIMAL_FORM: Final = re.compile(_DECIMAL)

LEXIS: Final[dict[Scalar, Lexis]] = {
    Scalar.INTEGER: Lexis(
        base="xs:token",
        write=str,
        read=int,
        form=f"a whole number (at most {MAX_INT_DIGITS} digits)",
        pattern=re.compile(_INTEGER),
        pattern_xsd=_INTEGER,
    ),
    Scalar.FLOAT: Lexis(
        base="xs:double",
        write=repr,
        read=float,
        form="a finite number",
        pattern=re.compile(_FLOAT),
        pattern_xsd=_FLOAT,
        facets=(("minInclusive", "-1.7976931348623157E308"), ("maxInclusive", "1.7976931348623157E308")),
    ),
    Scalar.BOOLEAN: Lexis(
        base="xs:boolean",
        write=_boolean_text,
        read={"true": True, "1": True, "false": False, "0": False}.__getitem__,
        form="true or false",
        pattern=re.compile("true|false|1|0"),
    ),
    Scalar.DECIMAL: Lexis(
        base="xs:token",
        write=decimal_text,
        read=Decimal,
        form=f"a decimal number (exponent within {MAX_EXPONENT})",
        pattern=_DECIMAL_FORM,
        pattern_xsd=_DECIMAL,
    ),
    Scalar.DATETIME: Lexis(
        base="xs:dateTime",
        write=datetime.isoformat,
        read=datetime.fromisoformat,
        form="a date and time with its offset, such as 2026-01-31T12:00:00+01:00",
        pattern=re.compile(_DATETIME),
        pattern_xsd=_DATETIME,
    ),
    Scalar.BYTES: Lexis(
        base="xs:base64Binary",
        write=bytes_text,
        read=a2b_base64,
        form="base64",
        pattern=re.compile(_BASE64),
        # The built-in type counts the letters and checks the padding, but skips over strangers.
        pattern_xsd="[A-Za-z0-9+/]*=?=?",
    ),
}
"""The scalars but ``str``, whose text is the value itself (see ``escapes`` for what XML cannot hold)."""


def collapsed(text: str) -> str:
    """The text as ``xs:token`` sees it: no white space around it, and single blanks in it."""
    return " ".join(part for part in re.split(f"[{SPACE}]+", text) if part)
