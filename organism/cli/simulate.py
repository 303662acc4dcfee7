"""``organism simulate``: the simulated model as a server, in the protocols of two providers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from cyclopts import Parameter

from organism.cli.arguments import WHOLE, Debug, Given, pairs
from organism.cli.log_lines import logging_to
from organism.cli.text import one_line
from organism.errors import ConfigurationError
from organism.models.simulation.options import Options, check_options
from organism.names import not_installed

PORT: Final = 8765
_WHOLE: Final = ("seed", "context_window")

Models = Annotated[
    tuple[str, ...],
    Parameter(
        name="--model",
        metavar="NAME",
        help="A model name that it answers for, sim-1 by default; may be repeated.",
    ),
]
Said = Annotated[
    tuple[str, ...],
    Parameter(
        name="--option",
        metavar="KEY=VALUE",
        help="As 'options:' of a simulated backend: verbosity, obedience, latency, token_latency, context_window.",
    ),
]


def simulate(
    *,
    host: Annotated[
        str, Parameter(metavar="HOST", show_default=True, help="The address that it listens on.")
    ] = "127.0.0.1",
    port: Annotated[int, WHOLE, Parameter(show_default=True, help="The port; 0 takes a free one.")] = PORT,
    model: Models = ("sim-1",),
    seed: Annotated[int | None, WHOLE, Parameter(help="The seed of its choices; a request's own seed wins.")] = None,
    option: Said = (),
    key: Annotated[str | None, Parameter(metavar="KEY", help="Refuse requests without this key, with 401.")] = None,
    requests_per_minute: Annotated[int | None, WHOLE, Parameter(help="Refuse requests beyond this, with 429.")] = None,
    tokens_per_minute: Annotated[int | None, WHOLE, Parameter(help="Refuse requests beyond this, with 429.")] = None,
    debug: Debug = False,
    streams: Given,
) -> int:
    """Serves the simulated model over HTTP, as OpenAI's Chat Completions and as Anthropic's Messages, until Ctrl-C.

    Prints its address and what to write into organism.yaml to standard output. Any client of one of the two protocols can use
    it. Ctrl-C lets answers under way finish for up to two seconds, and exits with 130; a second Ctrl-C ends it immediately. Exits
    with 2 if it cannot listen at that address.

    Example: organism simulate --port 8765 --option verbosity=2 --key secret
    """
    options = _options(seed, option)
    limits = {"requests-per-minute": requests_per_minute, "tokens-per-minute": tokens_per_minute}
    mistakes = [
        f"--{name} {figure}: must be at least 1" for name, figure in limits.items() if figure is not None and figure < 1
    ]
    if not 0 <= port <= 65535:
        mistakes.append(f"--port {port}: must be from 0 to 65535")
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key and key):
        mistakes.append("--key: must be of printable ASCII characters, without blanks around it")
    if mistakes:
        raise ConfigurationError(mistakes)
    try:
        from organism.cli.serving import serve
    except ModuleNotFoundError as error:
        raise ConfigurationError([f"organism simulate: {not_installed(error.name, 'simulate')}"]) from error
    with logging_to(streams, verbose=False, debug=debug):
        return serve(
            host, port, streams, models=model, options=options, key=key,
            requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute,
        )  # fmt: skip


def _options(seed: int | None, given: tuple[str, ...]) -> Options:
    """The options of the model. Raises ConfigurationError with every mistake."""
    said: dict[str, Any] = {} if seed is None else {"seed": seed}
    for name, text in pairs("--option", given).items():
        try:
            said[name] = int(text) if name in _WHOLE else float(text)
        except ValueError:
            said[name] = text
    if problems := check_options(said):
        raise ConfigurationError([f"--option: {one_line(problem)}" for problem in problems])
    return Options(**said)
