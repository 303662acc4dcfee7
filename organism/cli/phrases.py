"""Payloads, prompts, charges and limits in words, short or whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from organism.cli.report import field_lines
from organism.cli.tables import money, plain_amount
from organism.cli.text import cut, harmless, one_line
from organism.journal.values import PlainPayload
from organism.names import counted
from organism.payloads import encode_fields, encode_xml
from organism.threads.outcomes import Failure
from organism.usage import usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from organism.budget.claims import Charge
    from organism.journal.prompts import Prompt
    from organism.record.facts import Granted
    from organism.record.images import CutShort, Missed
    from organism.results import Question
    from organism.usage import Estimate

SHORT: Final = 160
"""Columns of a payload or an answer that is not to be told whole."""


def short(payload: Any) -> str:
    """A payload in a line: its name and its fields, cut to :data:`SHORT` columns."""
    name, fields = parts(payload)
    if len(fields) == 1:
        return cut(f"{name}: {_value(next(iter(fields.values())))}", SHORT)
    return cut(f"{name}: {', '.join(f'{key}={_value(each)}' for key, each in fields.items())}".rstrip(": "), SHORT)


def parts(payload: Any) -> tuple[str, Mapping[str, Any]]:
    """The name of a payload and its fields, with its class or without."""
    if isinstance(payload, PlainPayload):
        # Journals hold fields in the order of their names; the XML has them in that of their declaration.
        order = sorted(payload.fields, key=lambda name: _position(name, payload.xml))
        return one_line(payload.name), {name: payload.fields[name] for name in order}
    return type(payload).__name__, encode_fields(payload)


def question_lines(asked: Question, width: int) -> Iterator[str]:
    """A question as a person reads it: who asks whom, and what."""
    who = f"{asker_text(asked)} asks {asked.handler}" if asked.sender else f"{asked.handler} is asked"
    yield f"{who} [question {one_line(asked.id)}]"
    asker = asked.requester
    if asker is not None:  # reader has used 420 of 500 tokens [thread 3f.2]
        of = "" if asker.limit is None else f" of {plain_amount(asker.limit)}"
        yield f"{asker.handler} has used {plain_amount(asker.used)}{of} {asker.unit} [thread {one_line(asker.thread)}]"
    name, fields = parts(asked.payload)
    yield name
    yield from field_lines(fields, 2, width)


def asker_text(asked: Question) -> str:
    """Who asks a question: a handler, the organism for one that wants more budget, or somebody outside."""
    if asked.requester is not None:
        return f"{asked.sender} for {asked.requester.handler}"
    return asked.sender or "outside"


def _position(name: str, xml: str) -> int:
    found = re.search(rf"<{re.escape(name)}[\s/>]", xml)
    return len(xml) if found is None else found.start()


def xml_of(payload: Any) -> str:
    """The XML of a payload."""
    return payload.xml if isinstance(payload, PlainPayload) else encode_xml(payload).decode()


def _value(value: Any) -> str:
    given: Any = value
    if isinstance(value, list):
        return f"[{', '.join(map(_value, given))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{one_line(key)}: {_value(each)}' for key, each in given.items())}}}"
    return "-" if value is None else one_line(str(value))


def said(text: str, *, whole: bool) -> str:
    """What a model wrote: all of it, or its beginning in a line."""
    return harmless(text) if whole else cut(one_line(text), SHORT)


def message_text(message: Any) -> str:
    """One message of a prompt in a line."""
    return cut(one_line(f"{message.get('role', '?')}: {_content(message)}"), SHORT)


def prompt_lines(prompt: Prompt) -> Iterator[str]:
    """All that a model was asked: its messages, then the rest of the request."""
    for message in prompt.messages:
        head, *rest = harmless(_content(message)).split("\n")
        yield f"  {one_line(str(message.get('role', '?')))}: {head}"
        yield from (f"    {line}" for line in rest)
    for key, value in prompt.asked.items():
        yield f"  with {one_line(key)}: {_value(value)}"


def _content(message: Mapping[str, Any]) -> str:
    """The text of a message, the calls of tools in it, and whatever else it holds."""
    content = message.get("content")
    parts: list[str] = [content] if isinstance(content, str) and content else []
    if isinstance(content, list):
        items: list[Any] = message["content"]
        parts += [each["text"] if isinstance(each, dict) and "text" in each else _value(each) for each in items]
    for call in message.get("tool_calls") or ():
        function = call.get("function", {})
        parts.append(f"uses {function.get('name')} {function.get('arguments')}")
    return "\n".join(parts)


def failure_text(failure: Failure | Missed) -> str:
    """What a failure, or a call without an answer, is, and what is said of it, in a line."""
    code = failure.code if isinstance(failure, Failure) else failure.kind
    return one_line(f"{code}: {failure.text}" if failure.text else code)


def charge_text(charge: Charge) -> str:
    """What an attempt cost: ``120 in, 54 out, 0.0021 USD``; ``~`` where it is an estimate. What has no price is not said to cost nothing."""
    if not any(charge.amounts[:4]):
        return "nothing charged"
    about = "~" if charge.estimated else ""
    cost = "price unknown" if charge.unpriced else f"{money(usd(charge.cost))} USD"
    return f"{about}{charge.input_tokens:,} in, {about}{charge.output_tokens:,} out, {cost}"


def grant_text(granted: Granted) -> str:
    """A grant in a line: what was granted, and by whom. Why, those say who decide, and who asked reads it in the answer."""
    limit = getattr(granted.budget.limits, granted.unit)
    return (
        f"{granted.by} grants {plain_amount(granted.amount)} of {plain_amount(granted.asked)} {granted.unit}; "
        f"the limit is now {plain_amount(limit)}"
    )


def forecast_text(estimate: Estimate) -> str:
    """A forecast in a line, and what came where its thread is over."""
    low, high = plain_amount(estimate.low), plain_amount(estimate.high)
    says = f"{estimate.handler} forecasts {low} to {high} {estimate.unit} from {plain_amount(estimate.used)} used on"
    if estimate.came is None:
        return says
    return f"{says}; {plain_amount(estimate.came)} came: {'hit' if estimate.hit else 'missed'}"


def cut_text(done: CutShort) -> str:
    """How a handler's history was cut short, to stand behind its name."""
    sizes = f"{done.tokens_before:,} to {done.tokens_after:,} tokens"
    first, behind = done.replaced
    if done.how == "prune":
        return f" is sent no more of the results in messages {first} to {behind - 1}: {sizes}"
    parts = [f"{sizes}, {done.messages_before} to {counted(done.messages_after, 'message')}"]
    if done.how != "cut":
        what = "a model's summary" if done.how == "model" else "a recap"
        parts.append(f"{what} stands for messages {first} to {behind - 1}")
    if done.longest:
        parts.append(f"results are cut to {done.longest:,} characters")
    if done.text:
        parts.append(f"no summary: {cut(one_line(done.text), SHORT)}")
    return f"'s history is cut short, {_WHY.get(done.why, done.why)}: {'; '.join(parts)}"


_WHY: Final = {
    "mark": "beyond its mark",
    "limit": "beyond its hard limit",
    "context": "refused as too long",
    "over": "its work being done",
}
"""Why a history was cut short."""
