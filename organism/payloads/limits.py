"""How much a document from outside may ask of this process."""

from __future__ import annotations

from attrs import field, frozen, validators

_LIBXML2_DEPTH = 256
_LIBXML2_TEXT = 10_000_000


@frozen(kw_only=True)
class Limits:
    """Limits of one document; what is over them is refused with InvalidPayloadError before it is worked on.

    ``size``: bytes of the document. ``depth``: elements inside each other (at most 256). ``text``: characters of one
    text or attribute (at most 10,000,000). Raises ValueError for limits that the parser would undercut.
    """

    size: int = field(default=2 * 1024 * 1024, validator=validators.ge(1))
    depth: int = field(default=100, validator=[validators.ge(1), validators.le(_LIBXML2_DEPTH)])
    text: int = field(default=1024 * 1024, validator=[validators.ge(1), validators.le(_LIBXML2_TEXT)])
