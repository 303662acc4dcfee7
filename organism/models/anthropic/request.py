"""Requests in the format of Messages, which Anthropic speaks. ``response`` has the way back.

Pure. Messages come as chat-completions dicts, whatever provider they were written by, and leave as turns of blocks.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, cast

from organism.models.contract import BackendError
from organism.models.formats import items, mapping, plain
from organism.models.reasoning import THINKING
from organism.models.transport.options import OptionRules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from organism.models.contract import Message, Request

RULES: Final = OptionRules(
    owned=frozenset({"model", "messages", "system", "stream", "max_tokens"}), mappings=("thinking", "output_config")
)
"""The router holds budget for these messages, and for an answer of the length that it asks for."""
EFFORTS: Final[Mapping[str, float]] = {
    "minimal": 0.1,
    "low": 0.2,
    "medium": 0.5,
    "high": 0.8,
    "xhigh": 0.9,
    "max": 0.95,
}
"""The share of the output that a reasoning effort leaves to thinking."""
_LEAST_THINKING: Final = 1024
"""Tokens; the provider takes no smaller budget."""
_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}
_DATA: Final = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)(;[\w=.+-]+)*;base64,(?P<data>.+)", re.DOTALL)
_NO_ID: Final = re.compile(r"[^A-Za-z0-9_-]")
_OWN_PARTS: Final = frozenset({"image", "document", "search_result"})
"""Parts of a message that are written in this dialect already."""
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_MARK: Final = {"type": "ephemeral"}

Block = dict[str, Any]


def body_of(request: Request, *, prompt_cache: bool = False) -> dict[str, Any]:
    """The body of a request; with ``prompt_cache`` the system block and the last tool end what the provider is to keep.

    Options of the backend give way to what the call says, and both to its ``extra``. Raises BackendError where these say
    something that only the router may, or where a message has a part that this protocol does not know.
    """
    options, extra = RULES.passed(request)
    layers = (options, _said(request), extra)
    system, turns = turns_of(request.messages)
    body: dict[str, Any] = {name: value for layer in layers for name, value in layer.items()}
    if output := {name: value for layer in layers for name, value in mapping(layer.get("output_config")).items()}:
        body["output_config"] = output
    body |= {"model": request.model, "max_tokens": request.max_output_tokens, "messages": turns}
    if system:
        body["system"] = system
    if prompt_cache:
        _mark_last(body, "system")
        _mark_last(body, "tools")
    sent: dict[str, Any] = plain(_settled(body))
    return sent


def answer_tool(request: Request) -> str:
    """The name of the tool by which the answer is handed in whose schema was asked for; empty where none was."""
    name = "answer" if request.returns is not None else ""
    while name in {tool.name for tool in request.tools}:
        name += "_"
    return name


def _said(request: Request) -> dict[str, Any]:
    """What the call says. There is no seed in this protocol."""
    said: dict[str, Any] = {"temperature": request.temperature} if request.temperature is not None else {}
    said |= _thinking(request)
    tools = [_tool(tool.name, tool.description, tool.parameters) for tool in request.tools]
    if request.returns is not None:
        # Not `output_config.format`: that takes no schema of a mapping, of a type or null, or of a decimal.
        about = str(request.returns.get("description", ""))
        tools.append(_tool(answer_tool(request), f"Hands in the answer. {about}".strip(), request.returns))
    return said | ({"tools": tools, "tool_choice": _choice(request)} if tools else {})


def _tool(name: str, description: str, parameters: Mapping[str, Any]) -> Block:
    spec: Block = {"name": name, "input_schema": {"type": "object", **parameters}}
    return spec | ({"description": description} if description else {})


def _choice(request: Request) -> Block:
    if request.returns is not None and (not request.tools or request.tool_choice == "none"):
        return {"type": "tool", "name": answer_tool(request), "disable_parallel_tool_use": True}
    known = _CHOICES.get(request.tool_choice)
    if known is None:
        return {"type": "tool", "name": request.tool_choice}
    return {"type": known if request.returns is None else "any"}


def _thinking(request: Request) -> dict[str, Any]:
    """What a reasoning effort means: a share of the output, or where options say how to think, how hard."""
    effort = request.reasoning_effort
    if effort is None:
        return {}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if "thinking" in request.options or "thinking" in request.extra:
        return {"output_config": {"effort": effort}}
    share = EFFORTS.get(effort)
    if share is None:
        known = ", ".join(("none", *EFFORTS))
        raise BackendError("rejected", f"reasoning_effort '{effort}' is unknown; there are: {known}")
    if request.max_output_tokens < 2 * _LEAST_THINKING:
        return {}  # the least thinking that there is would leave too little for the answer
    budget = max(_LEAST_THINKING, int(share * request.max_output_tokens))
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _settled(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what the provider refuses beside something that weighs more."""
    kind = mapping(body.get("thinking")).get("type")
    if kind in {None, "disabled"}:
        return body
    forced = mapping(body.get("tool_choice")).get("type") in {"any", "tool"}
    # A turn of calls that was made without thinking, or by another provider, is ended without it.
    if forced or (kind == "enabled" and _unthought(body["messages"])):
        return {name: value for name, value in body.items() if name != "thinking"}
    return {name: value for name, value in body.items() if name != "temperature"}


def _unthought(turns: Sequence[Block]) -> bool:
    if len(turns) < 2 or turns[-1]["content"][0]["type"] != "tool_result":
        return False
    return turns[-2]["content"][0]["type"] not in _THINKING


def _mark_last(body: dict[str, Any], name: str) -> None:
    if blocks := items(body.get(name)):
        *others, last = blocks
        body[name] = [*others, {"cache_control": _MARK, **mapping(last)}]


def turns_of(messages: Sequence[Message]) -> tuple[list[Block], list[Block]]:
    """The system blocks, and the turns of user and assistant: what follows on one another of one side is one turn.

    Results of tools open the turn of the user. What is said as system after the first turn is said by the user, in its place.
    """
    system: list[Block] = []
    turns: list[Block] = []
    ids = _Ids()
    for index, message in enumerate(messages):
        role, place = message.get("role"), f"messages[{index}]"
        if role in {"system", "developer"} and not turns:
            system += _parts(message.get("content"), place)
            continue
        blocks = _assistant(message, place, ids) if role == "assistant" else _user(message, place, ids)
        side = "assistant" if role == "assistant" else "user"
        if turns and turns[-1]["role"] == side:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": side, "content": blocks})
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=_is_no_result)
    return (system, turns) if turns else ([], [{"role": "user", "content": system}])


def _is_no_result(block: Block) -> bool:
    return bool(block["type"] != "tool_result")


class _Ids:
    """The ids of calls as they are sent: each once, and of the signs that are allowed.

    Others give one id to every call, or count anew in each answer.
    """

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._open: list[tuple[str, str]] = []

    def turn(self) -> None:
        """Begins with the calls of an answer: the results that follow are theirs."""
        self._open = []

    def call(self, given: str) -> str:
        """The id of a call."""
        base = found = _NO_ID.sub("_", given) or "call"
        number = 2
        while found in self._used:
            found, number = f"{base}_{number}", number + 1
        self._used.add(found)
        self._open.append((given, found))
        return found

    def result(self, given: str) -> str:
        """The id of the call that a result is for: the first of its name that has none yet."""
        for pair in self._open:
            if pair[0] == given:
                self._open.remove(pair)
                return pair[1]
        return _NO_ID.sub("_", given) or "call"


def _user(message: Message, place: str, ids: _Ids) -> list[Block]:
    blocks = _parts(message.get("content"), place)
    if message.get("role") != "tool":
        return blocks
    result: Block = {"type": "tool_result", "tool_use_id": ids.result(str(message.get("tool_call_id", "")))}
    return [result | ({"content": blocks} if blocks else {})]


def _assistant(message: Message, place: str, ids: _Ids) -> list[Block]:
    """Text, calls, and between them the thinking that was kept, where it stood."""
    ids.turn()
    text = "".join(str(part.get("text", "")) for part in _parts(message.get("content"), place))
    calls = [_call(mapping(call), ids) for call in message.get("tool_calls") or ()]
    blocks: list[Block] = []
    said = made = 0
    for each in message.get(THINKING) or ():
        kept = dict(mapping(each))
        characters, number = kept.pop("at", (0, 0))
        blocks += [*_text(text[said:characters]), *calls[made:number], kept]
        said, made = max(said, characters), max(made, number)
    rest = [*_text(text[said:]), *calls[made:]]
    while blocks and not rest and blocks[-1].get("type") in _THINKING:
        blocks.pop()  # an answer may not end with it: whatever it was for, did not come
    return [*blocks, *rest]


def _call(call: Mapping[str, Any], ids: _Ids) -> Block:
    function = mapping(call.get("function"))
    written = function.get("arguments") or "{}"
    try:
        given: object = json.loads(written)
    except (ValueError, RecursionError):
        given = None
    # What a model wrote that are no arguments, it is to see as well.
    known = cast("Block", given) if isinstance(given, dict) else {"arguments": written}
    return {"type": "tool_use", "id": ids.call(str(call.get("id"))), "name": function.get("name"), "input": known}


def _parts(content: object, place: str) -> list[Block]:
    """The blocks of a content: a text, or a list of parts."""
    if content is None or isinstance(content, str):
        return list(_text(content or ""))
    return [
        block
        for number, part in enumerate(cast("Sequence[object]", content))
        for block in _part(mapping(part), f"{place}.content[{number}]")
    ]


def _text(text: str) -> Iterator[Block]:
    """A text block; none where there is nothing but blanks, which is refused."""
    if text.strip():
        yield {"type": "text", "text": text}


def _part(part: Mapping[str, Any], place: str) -> Iterator[Block]:
    kind = part.get("type")
    if kind in {"text", "refusal"}:
        marks = {"cache_control": part["cache_control"]} if "cache_control" in part else {}
        yield from (block | marks for block in _text(str(part.get(str(kind)) or "")))
    elif kind == "image_url":
        said: object = part.get("image_url")
        url = said if isinstance(said, str) else str(mapping(said).get("url", ""))
        yield {"type": "image", "source": _source(url, f"{place}.image_url")}
    elif kind == "file":
        data = str(mapping(part.get("file")).get("file_data", ""))
        yield {"type": "document", "source": _source(data, f"{place}.file.file_data")}
    elif kind in _OWN_PARTS:
        yield dict(part)
    else:
        text = f"{place}: parts of type '{kind}' are unknown to this provider; there are: text, image_url, file"
        raise BackendError("rejected", text)


def _source(url: str, place: str) -> Block:
    if found := _DATA.fullmatch(url):
        return {"type": "base64", "media_type": found["type"], "data": found["data"]}
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    raise BackendError("rejected", f"{place}: {url[:40]!r} is neither an address nor data:TYPE;base64,...")
