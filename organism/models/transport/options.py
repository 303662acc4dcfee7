"""What of a backend's ``options`` and of a call's ``extra`` goes into the body of a request, what goes beside it, and what may not be there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from attrs import frozen

from organism.models.contract import BackendError
from organism.models.redaction import BESIDE
from organism.names import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from organism.models.contract import Request

HEADERS, QUERY = BESIDE
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@frozen(kw_only=True)
class OptionRules:
    """What a format knows of options; all others pass through into the body.

    ``owned``: what only the router says, since the budget is held for it. ``apart``: what is no part of the body, beside headers and
    query. ``mappings``: what is a mapping where it is there.
    """

    owned: frozenset[str]
    apart: frozenset[str] = frozenset()
    mappings: tuple[str, ...] = ()

    def problems(self, options: Mapping[str, Any]) -> list[str]:
        """What is wrong with the options of a backend, one line each."""
        return [
            *(
                f"options.{name}: the router says this itself; `max_output_tokens` of the alias or the call sets the length"
                for name in sorted(self.owned.intersection(options))
            ),
            *(f"options.{line}" for line in _wrong_beside(options)),
            *(f"options.{name}: must be a mapping of names to values" for name in _no_mappings(options, self.mappings)),
        ]

    def passed(self, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the backend's options and the call's ``extra`` add to the body. Raises BackendError where they have what only the router
        may say.
        """
        if wrong := sorted(self.owned.intersection({*request.options, *request.extra})):
            text = f"'{wrong[0]}' cannot be passed through: the budget is held for what the call itself says"
            raise BackendError("rejected", text)
        options, extra = (
            {name: value for name, value in given.items() if name not in self.apart and name not in BESIDE}
            for given in (request.options, request.extra)
        )
        return options, extra


def beside_body(request: Request) -> dict[str, Any]:
    """The ``extra_headers`` and ``extra_query`` that the file and the call have, under the names of the SDKs. Raises BackendError where
    a server could not be sent them.
    """
    passed = {
        name: value for given in (request.options, request.extra) for name, value in given.items() if name in BESIDE
    }
    if wrong := next(_wrong_beside(passed), ""):
        raise BackendError("rejected", wrong)
    return {sent: passed[name] for sent, name in (("headers", HEADERS), ("params", QUERY)) if passed.get(name)}


def _no_mappings(options: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    return (name for name in names if not isinstance(options.get(name, {}), Mapping))


def _wrong_beside(options: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with what goes beside the body, one line each."""
    wrong = set(_no_mappings(options, BESIDE))
    yield from (f"{name}: must be a mapping of names to values" for name in sorted(wrong))
    given: Any = {} if HEADERS in wrong else options.get(HEADERS, {})
    headers = cast("Mapping[object, object]", given)
    for name, value in headers.items():
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            yield f"{HEADERS}: {told(name)} is not the name of a header"
        elif not isinstance(value, str):
            yield f"{HEADERS}.{name}: must be a text, not a value of type {type(value).__name__}; write it in quotes"
        elif _CONTROL.search(value) is not None:
            yield f"{HEADERS}.{name}: must be a text without line ends and other control characters"
