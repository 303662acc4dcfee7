"""The options of a simulated backend: what may stand in ``options:``, and what is wrong with what stands there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import evolve, fields_dict, frozen

from organism.names import suggestion, told

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen(kw_only=True)
class Options:
    """How a simulated model behaves.

    ``seed``: of its choices; a call's own seed wins. ``verbosity`` (0.1 to 10): how much it reads and writes.
    ``obedience`` (0 to 1): how surely and how strongly it heeds budget notices. ``latency``: seconds until an answer
    begins, ``token_latency``: seconds per output token after that. ``context_window``: tokens of prompt and answer.
    """

    seed: int = 0
    verbosity: float = 1.0
    obedience: float = 1.0
    latency: float = 0.0
    token_latency: float = 0.0
    context_window: int = 128_000

    def overridden(self, extra: Mapping[str, Any]) -> Options:
        """These options with those that a call names in its ``extra``; ``extra`` of other providers is left alone."""
        return evolve(self, **{name: extra[name] for name in KNOWN if name in extra})


KNOWN: Final = tuple(fields_dict(Options))
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "verbosity": (0.1, 10.0),
    "obedience": (0.0, 1.0),
    "latency": (0.0, 3600.0),
    "token_latency": (0.0, 60.0),
    "context_window": (256, 10**9),
}
_WHOLE: Final = frozenset({"seed", "context_window"})


def check_options(options: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options of a simulated backend, one line each; empty where nothing is."""
    problems: list[str] = []
    for name, value in options.items():
        if name not in KNOWN:
            problems.append(
                f"'{name}' is not an option of the simulated model{suggestion(name, KNOWN)} (known: {', '.join(KNOWN)})"
            )
        elif (problem := _problem(name, value)) is not None:
            problems.append(problem)
    return problems


def check_extra(extra: Mapping[str, Any]) -> list[str]:
    """What is wrong with the options that a call names in its ``extra``; unknown names are another provider's."""
    return check_options({name: extra[name] for name in KNOWN if name in extra})


def _problem(name: str, value: Any) -> str | None:
    """What is wrong with one known option."""
    if name in _WHOLE:
        if not isinstance(value, int) or isinstance(value, bool):
            return f"option '{name}' must be a whole number, not {told(value)}"
    elif not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"option '{name}' must be a number, not {told(value)}"
    if name in _RANGES:
        low, high = _RANGES[name]
        if not low <= value <= high:
            return f"option '{name}' must be from {low:g} to {high:g}, not {told(value)}"
    return None
