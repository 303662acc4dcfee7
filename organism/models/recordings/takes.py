"""One recorded call as a line of JSON: what the model was shown, and what came of it. Pure.

A *take* is one attempt at one backend. It is found again by a hash of what the model saw, so that neither the provider, nor its
server, nor a key decides whether it fits; how long the answer might be is compared beside the hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast, get_args

from attrs import asdict, fields_dict, frozen

from organism.models.contract import BackendError, Failure, Piece, RawUsage, Response, ToolCall
from organism.models.redaction import BESIDE
from organism.models.tokens.prompt import canonical
from organism.names import told
from organism.settings import Price, Seller

if TYPE_CHECKING:
    from organism.models.contract import FinishReason, Request
    from organism.settings import BackendSettings

HEAD: Final = b'{"recording":1}\n'
"""The first line of each run in a recording."""

_PLAIN: Final = (str, int, float, bool, type(None))


@frozen(kw_only=True)
class Step:
    """A piece of a stream; ``usage`` is what was reported when it had come, where that was something new."""

    piece: Piece
    usage: RawUsage | None = None


@frozen(kw_only=True)
class Outcome:
    """What came of an attempt: the ``response``, the ``error``, or neither where its reader left. ``steps``: what a stream gave
    before, ``None`` where the answer came whole. ``usage`` is what was reported by then.
    """

    response: Response | None = None
    error: BackendError | None = None
    steps: tuple[Step, ...] | None = None
    usage: RawUsage | None = None


@frozen(kw_only=True)
class Take:
    """A recorded attempt. ``asked`` counts the attempts of its run, in the order in which they were made."""

    key: str
    model: str
    max_output_tokens: int
    asked: int
    outcome: Outcome
    line: int = 0
    """Where it stands in its file, from 1."""

    def fits(self, most: int, *, streamed: bool) -> bool:
        """Whether it is what the model would have said, had it been allowed ``most`` tokens of output."""
        if self.outcome.response is None and self.outcome.error is None and not streamed:
            return False  # nobody knows the whole of a stream that was left
        if self.max_output_tokens == most or self.outcome.error is not None:
            return True
        response = self.outcome.response
        if response is None or response.finish_reason == "length" or response.usage is None:
            return False
        said = response.usage.output_tokens
        return isinstance(said, int) and said <= most


def shown(request: Request) -> dict[str, Any]:
    """What the model sees of a request, but for how long its answer may be."""
    extra = {name: value for name, value in request.extra.items() if name not in BESIDE}
    said: dict[str, Any] = {
        "model": request.model,
        "messages": list(request.messages),
        "tools": [asdict(tool, recurse=False) for tool in request.tools],
        "tool_choice": request.tool_choice if request.tools else None,
        "returns": request.returns,
        "temperature": None if request.temperature is None else float(request.temperature),
        "seed": request.seed,
        "reasoning_effort": request.reasoning_effort,
        "extra": extra,
    }
    return {name: value for name, value in said.items() if value not in (None, [], {})}


def key_of(text: str) -> str:
    """The hash of what :func:`shown` gave, as canonical JSON without secrets."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def text_of(value: object, what: str) -> str:
    """A value as canonical JSON; raises TypeError for what is none."""
    return canonical(value, what).decode("utf-8", "surrogatepass")


def _there(**said: Any) -> dict[str, Any]:
    """What there is to say."""
    return {name: value for name, value in said.items() if value is not None}


def seller_of(settings: BackendSettings) -> dict[str, Any]:
    """Who answers, as a take tells of it: enough to find the prices again."""
    tier = settings.options.get("service_tier")
    price = settings.price and {name: str(value) for name, value in _there(**asdict(settings.price)).items()}
    return _there(
        provider=settings.provider,
        own=settings.factory is not None or None,
        base_url=settings.base_url,
        price=price,
        service_tier=tier if isinstance(tier, str) else None,
    )


def seller_in(line: Mapping[str, Any]) -> Seller:
    """Who answered in a take. Raises TypeError, ValueError, KeyError and ArithmeticError where it does not say so."""
    price = line.get("price")
    known = None if price is None else Price(**{str(name): Decimal(value) for name, value in price.items()})
    return Seller(
        provider=str(line["provider"]),
        at=datetime.fromisoformat(line["at"]),
        own=bool(line.get("own")),
        base_url=line.get("base_url"),
        price=known,
        service_tier=line.get("service_tier"),
    )


def written(outcome: Outcome) -> dict[str, Any]:
    """What came of an attempt, as JSON has it."""
    response, error = outcome.response, outcome.error
    return _there(
        pieces=None if outcome.steps is None else [_written_step(step) for step in outcome.steps],
        answer=None if response is None else _written_response(response),
        error=None if error is None or response is not None else _written_error(error),
        left=True if response is None and error is None else None,
        usage=None if response is not None else _written_usage(outcome.usage),
    )


def _written_step(step: Step) -> object:
    plain = Piece(text=step.piece.text)
    if step.piece == plain and step.usage is None:
        return step.piece.text
    told = {name: value for name, value in asdict(step.piece).items() if value != getattr(plain, name)}
    return {"text": step.piece.text} | told | _there(usage=_written_usage(step.usage))


def _written_response(response: Response) -> dict[str, Any]:
    plain = response.message == {"role": "assistant", "content": response.text}
    return _there(
        text=response.text,
        message=None if plain else response.message,
        tool_calls=[asdict(call) for call in response.tool_calls] or None,
        finish_reason=response.finish_reason,
        usage=_written_usage(response.usage),
        model=response.model or None,
        thought=(response.thought if response.usage is None else None) or None,
    )


def _written_error(error: BackendError) -> dict[str, Any]:
    return _there(
        kind=error.kind,
        text=str(error),
        retry_after=error.retry_after,
        received=error.received or None,
        usage=_written_usage(error.usage),
    )


def _written_usage(usage: RawUsage | None) -> dict[str, Any] | None:
    """A report as it came. What JSON has no form for is no figure, and neither is its text."""
    if usage is None:
        return None
    figures = {name: _written_figure(value) for name, value in asdict(usage, recurse=False).items()}
    return {name: value for name, value in figures.items() if type(value) is not int or value != 0}


def _written_figure(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return int.__int__(value)
    return value if type(value) in _PLAIN else repr(value)


def read(document: Mapping[str, Any], *, line: int) -> Take:
    """The take in a line. Raises TypeError, ValueError and KeyError where it is none."""
    steps = document.get("pieces")
    answer, error = document.get("answer"), document.get("error")
    if answer is None and error is None and "left" not in document:
        raise ValueError("it has neither an answer nor an error")
    return Take(
        key=str(document["key"]),
        model=str(document["request"]["model"]),
        max_output_tokens=int(document["max_output_tokens"]),
        asked=int(document["asked"]),
        outcome=Outcome(
            response=None if answer is None else _read_response(answer),
            error=None if error is None else _read_error(error),
            steps=None if steps is None else tuple(_read_step(step) for step in steps),
            usage=_read_usage(document.get("usage")),
        ),
        line=line,
    )


def _read_step(step: object) -> Step:
    if isinstance(step, str):
        return Step(piece=Piece(text=step))
    said = dict(cast("Mapping[str, Any]", step))
    usage = _read_usage(said.pop("usage", None))
    if said.get("kind", "text") not in {"text", "other"}:
        raise ValueError(f"{told(said['kind'])} is not a kind of piece")
    return Step(piece=Piece(**said), usage=usage)


def _read_response(said: Mapping[str, Any]) -> Response:
    reason: FinishReason = said["finish_reason"]
    text = str(said["text"])
    return Response(
        text=text,
        message=said.get("message") or {"role": "assistant", "content": text},
        tool_calls=tuple(
            ToolCall(**{name: str(part) for name, part in call.items()}) for call in said.get("tool_calls", ())
        ),
        finish_reason=reason,
        usage=_read_usage(said.get("usage")),
        model=str(said.get("model", "")),
        thought=str(said.get("thought", "")),
    )


def _read_error(said: Mapping[str, Any]) -> BackendError:
    kind: Failure = said["kind"]
    if kind not in get_args(Failure):
        raise ValueError(f"{told(kind)} is not a kind of failure")
    after = said.get("retry_after")
    return BackendError(
        kind,
        str(said["text"]),
        retry_after=None if after is None else float(after),
        usage=_read_usage(said.get("usage")),
        received=str(said.get("received", "")),
    )


def _read_usage(said: Mapping[str, Any] | None) -> RawUsage | None:
    """A report. What is not in it was 0, which is the usual case of three of its figures."""
    return None if said is None else RawUsage(**{name: said.get(name, 0) for name in fields_dict(RawUsage)})


def document_of(line: bytes) -> Mapping[str, Any]:
    """The object in a line of a recording. Raises ValueError and RecursionError where it is none."""
    found: object = json.loads(line)
    if not isinstance(found, Mapping):
        raise ValueError("it is not an object")  # noqa: TRY004 - to its readers a wrong line is a wrong line
    return cast("Mapping[str, Any]", found)
