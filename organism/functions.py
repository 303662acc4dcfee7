"""Python functions as tools of agents: what a signature says of one, and the handler that it becomes.

A call is a message like any other. It holds its arguments as a text, and so does what it returns: records can be read also when the
function has gone or takes other arguments. What the signature says is checked before a call is sent and before it runs.
A mistake is a ConfigurationError with one line and without a place: whoever read the name knows where it stands.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from attrs import field, frozen

from organism.errors import ConfigurationError, HandlerFailedError, PayloadError, PayloadTypeError
from organism.message import Reply
from organism.names import tool_handler
from organism.payloads import (
    decode_fields,
    describe,
    encode_fields,
    encode_json,
    is_payload,
    json_schema,
    parse_json,
    payload,
)
from organism.payloads.aliases import unnamed
from organism.payloads.primitives import NAMESPACE
from organism.settings import HandlerSettings, ToolSettings
from organism.signatures import as_written, signature_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What all providers take as the name of a tool."""
_CONTEXT: Final = "organism.context.interface.Context"
_SHAPE: Final = (
    "a tool is 'async def search(query: str, most: int = 3) -> str', or a plain 'def', which runs in a worker thread"
)
_AT_TOP: Final = "its types must be known at the top of the module, and not to type checkers alone"


@payload(namespace=NAMESPACE)
class FunctionCall:
    """A call to a tool of an agent."""

    arguments: Annotated[str, "A JSON object, by the names of the parameters."]


@payload(namespace=NAMESPACE)
class FunctionResult:
    """What it returned, as the agent's model reads it."""

    text: str


@frozen
class Parameter:
    """What a model gives a tool; ``default`` is ``inspect.Parameter.empty`` where it must be given."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is inspect.Parameter.empty


@frozen
class Function:
    """A function that may be a tool. ``context`` is the parameter that gets the context, ``None`` where none does; ``arguments``
    is a payload class with a field for each of the others.
    """

    call: Callable[..., Any]
    name: str
    description: str
    parameters: tuple[Parameter, ...] = field(eq=False)
    context: str | None
    arguments: type[Any] = field(eq=False)


def declared(function: Any) -> Function:
    """What a function's signature says of it as a tool; raises ConfigurationError with all that keeps it from being one."""
    name = _name_of(function)
    _must_return(function, name)
    problems: list[str] = []
    description = inspect.cleandoc(function.__doc__ or "")
    if not description:
        problems.append(f"'{name}' has no docstring: a model reads there when to call it, and what for")
    parameters: list[Parameter] = []
    context: str | None = None
    for one in signature_of(function).parameters.values():
        try:
            _must_have_a_name(one, name)
            annotation = _annotation(one, function, name)
        except ConfigurationError as error:
            problems += error.mistakes
            continue
        if annotation is not None:
            parameters.append(Parameter(one.name, annotation, one.default))
        elif context is None:
            context = one.name
        else:
            problems.append(f"'{name}' takes the context twice, as '{context}' and '{one.name}'")
    if problems:
        raise ConfigurationError(problems)
    arguments = _payload_class(function, name, parameters)
    return Function(function, name, description, tuple(parameters), context, arguments)


def call_of(arguments: Any) -> FunctionCall:
    """The call with these arguments, a value of a tool's ``arguments``: the same text for the same ones."""
    return FunctionCall(json.dumps(encode_fields(arguments), ensure_ascii=False))


def as_handler(
    function: Function, agent: str, *, peers: Sequence[str], options: Mapping[str, Any], timeout: float | None
) -> ToolSettings:
    """The tool that a function is for an agent of this name: it may address the agent's ``peers``, has its ``options``, and may run
    for ``timeout`` seconds.
    """
    handler = HandlerSettings(
        name=tool_handler(agent, function.name),
        accepts=(FunctionCall,),
        description=function.description,
        code=_code(function),
        peers=tuple(peers),
        timeout=timeout,
        options=options,
    )
    # What it does is said once, beside its name.
    schema = {
        key: value for key, value in json_schema(function.arguments).items() if key not in {"title", "description"}
    }
    return ToolSettings(
        handler=handler, parameters=schema, read=lambda said: call_of(decode_fields(function.arguments, said))
    )


def _name_of(function: Any) -> str:
    if inspect.isclass(function) or not inspect.isroutine(function):
        is_class = inspect.isclass(function)
        kind = f"{function.__name__} is a class" if is_class else f"this is of type {type(function).__name__}"
        raise ConfigurationError([f"tools are functions, and {kind}; {_SHAPE}"])
    name: str = function.__name__
    if _NAME.fullmatch(name) is None:
        rule = "letters of ASCII, digits, '_' and '-', 64 at most"
        raise ConfigurationError([f"'{name}' is not a tool name that all providers take ({rule}): rename the function"])
    return name


def _must_return(function: Any, name: str) -> None:
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            [f"'{name}' yields: return the whole result instead, as a list where there are several; {_SHAPE}"]
        )


def _must_have_a_name(parameter: inspect.Parameter, name: str) -> None:
    """Raises for a parameter that a model, which gives arguments by name, could not give."""
    if parameter.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
        raise ConfigurationError(
            [f"'{name}' takes '{stars}{parameter.name}', which has no schema: name each parameter"]
        )
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        raise ConfigurationError([f"'{name}' takes '{parameter.name}' by place, and models give names: remove the '/'"])


def _annotation(parameter: inspect.Parameter, function: Any, name: str) -> Any:
    """The annotation as an object; ``None`` for the context's, which may exist for type checkers alone."""
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        raise ConfigurationError(
            [f"'{name}' does not say what '{parameter.name}' is: annotate it with a type, or with Context"]
        )
    if isinstance(annotation, types.NoneType):
        raise ConfigurationError([f"'{name}': None alone says nothing of '{parameter.name}'; leave it out"])
    holder = types.SimpleNamespace(__annotations__={parameter.name: annotation})
    known = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        resolved = typing.get_type_hints(holder, known, include_extras=True)[parameter.name]
    except Exception as error:
        if (as_written(annotation) or "").strip("'\" ").rpartition(".")[2] == "Context":
            return None
        problem = f"the annotation of '{parameter.name}' cannot be resolved ({type(error).__name__}: {error})"
        raise ConfigurationError([f"'{name}': {problem}; {_AT_TOP}"]) from error
    if isinstance(resolved, type) and f"{resolved.__module__}.{resolved.__qualname__}" == _CONTEXT:
        return None
    return resolved


def _payload_class(function: Any, name: str, parameters: Sequence[Parameter]) -> type:
    """The class of its arguments. Raises ConfigurationError for types that no payload can have."""
    ordered = sorted(parameters, key=lambda each: not each.required)
    body: dict[str, Any] = {
        "__annotations__": {each.name: each.annotation for each in ordered},
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        **{each.name: each.default for each in ordered if not each.required},
    }
    try:
        made: type = payload(type(name.replace("-", "_"), (), body))
        describe(made)
    except (PayloadTypeError, SyntaxError, TypeError, ValueError) as error:
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ConfigurationError([f"'{name}' cannot be a tool: {said}"]) from error
    return made


def _code(function: Function) -> Callable[[FunctionCall, Any], Coroutine[Any, Any, Reply[FunctionResult]]]:
    """What the pump calls for it."""
    waits = inspect.iscoroutinefunction(function.call)

    async def call(message: FunctionCall, ctx: Any) -> Reply[FunctionResult]:
        try:
            said: Any = decode_fields(function.arguments, parse_json(message.arguments))
        except (
            PayloadError
        ) as error:  # it was sent to what the function was in an earlier process, or a hook has changed it
            raise HandlerFailedError("validation", f"'{function.name}' does not take this: {error}") from error
        given = {each.name: _as_annotated(each.annotation, getattr(said, each.name)) for each in function.parameters}
        if function.context is not None:
            given[function.context] = ctx
        if waits:
            result = await function.call(**given)
        else:
            result = await ctx.in_thread(functools.partial(function.call, **given))
        return Reply(FunctionResult(text_of(result, function.name)))

    # What the function's module knows, its state may hold.
    functools.update_wrapper(call, function.call)
    return call


def _as_annotated(annotation: Any, value: Any) -> Any:
    """A field's value as the annotation has it: payloads keep lists as tuples and dicts as frozen ones."""
    annotation = unnamed(annotation)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {typing.Union, types.UnionType}:
        one = next((each for each in inner if each is not types.NoneType), None)
        return value if value is None else _as_annotated(one, value)
    if origin in {list, tuple}:
        items = [_as_annotated(inner[0], each) for each in value]
        return items if origin is list else tuple(items)
    if origin is dict:
        return {key: _as_annotated(inner[1], each) for key, each in value.items()}
    return value


def text_of(result: Any, name: str) -> str:
    """What a tool returned, as text: a text as it is, anything else as JSON. Half characters are escaped, since no encoding has
    them. Raises HandlerFailedError for what has no form in JSON.
    """
    text = result
    if not isinstance(result, str):
        try:
            text = json.dumps(result, ensure_ascii=False, default=_in_json)
        except (TypeError, ValueError, RecursionError) as error:
            said = f"'{name}' returned a {type(result).__name__} that is not a text, a payload or a JSON value: {error}"
            raise HandlerFailedError("validation", said) from error
    return cast("str", text).encode("utf-8", "backslashreplace").decode("utf-8")


def _in_json(value: Any) -> Any:
    if is_payload(value) and not isinstance(value, type):
        return encode_json(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
