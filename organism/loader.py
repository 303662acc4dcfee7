"""Loads what a configuration names in Python: handlers, payload classes, providers.

A mistake is a ConfigurationError with one line and without a place: whoever read the name knows where it stands.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import re
import sys
import traceback
import types
import typing
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from organism.errors import ConfigurationError
from organism.message import Reply
from organism.names import suggestion
from organism.payloads import is_payload
from organism.payloads.aliases import members
from organism.signatures import signature_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_REFERENCE: Final = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")
_OWN: Final = __name__.partition(".")[0]
"""The package that runs: a reference into it means it, also beside a checkout of another version."""
_AT_TOP: Final = "payload classes must be known at the top of the module, and not to type checkers alone"
_SHAPE: Final = "a handler is 'async def h(message: P, ctx: Context)', or a plain 'def', which runs in a worker thread"


class ImportFailedError(ConfigurationError):
    """A module that is there cannot be imported. ``cause`` is what failed, and where: the same for every module that imports that."""

    def __init__(self, module: str, cause: str) -> None:
        self.cause = cause
        super().__init__([f"cannot import '{module}': {cause}"])


def load_object(reference: str, folder: Path | None) -> Any:
    """The object that ``package.module:name`` names; ``name`` may have dots.

    The module is imported as Python does, with ``folder`` first on the path, where it stays: handlers may import from there
    later. Raises ConfigurationError when the text is no reference, the module or name is not there, its import fails, or a
    module of that name was loaded from elsewhere.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigurationError([f"{reference!r} is not a reference to code: write it as in 'package.module:name'"])
    module_name, name = match.groups()
    if folder is not None:
        folder = folder.resolve()
        _first_on_the_path(folder)
        if module_name.partition(".")[0] != _OWN:
            _must_be_from(folder, module_name)
    found: Any = _imported(module_name, folder)
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = suggestion(part, [known for known in dir(found) if not known.startswith("_")])
            raise ConfigurationError([f"module '{module_name}' has no '{name}'{near}"]) from None
        except Exception as error:  # a module's own __getattr__ may run anything
            raise _failed(module_name, folder, error) from error
    return found


def is_installed(module: str) -> bool:
    """Whether a module of a library is there; nothing of it is loaded."""
    return find_spec(module) is not None


def accepts_of(handler: Callable[..., Any]) -> tuple[type, ...]:
    """The payload classes that a handler takes, from the annotation of its first parameter.

    ``handler`` is a function, a bound method, a partial of one, or an object whose ``__call__`` is one. Raises
    ConfigurationError when it is no handler, or when the annotation is missing, cannot be resolved or is no payload class.
    """
    name = _name_of(handler)
    _must_answer(handler, name)
    parameter = _message_parameter(handler, name)
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        raise ConfigurationError(
            [f"{name} does not say what it takes: annotate '{parameter.name}' with a payload class"]
        )
    resolved = _resolved(annotation, handler, name, parameter.name)
    classes: list[type] = []
    for one in resolved:
        if not isinstance(one, type) or not is_payload(one):
            shown = getattr(one, "__qualname__", None) or str(one)
            way_out = (
                "write which one" if isinstance(one, typing.TypeVar) else "put @payload on it, or annotate another one"
            )
            raise ConfigurationError([f"{name} takes '{shown}', which is not a payload class: {way_out}"])
        if one not in classes:
            classes.append(one)
    return tuple(classes)


def replies_of(handler: Callable[..., Any]) -> tuple[type, ...] | None:
    """The payload classes that a handler replies, as far as its annotation tells; ``None`` where it does not tell all of them."""
    inner = _called(handler)
    try:
        holder = types.SimpleNamespace(__annotations__={"return": signature_of(inner).return_annotation})
        resolved = typing.get_type_hints(holder, getattr(inner, "__globals__", {}))["return"]
        answers = [one for one in members(resolved) if one is not types.NoneType]
        replied = [[*members(typing.get_args(one)[0])] if typing.get_origin(one) is Reply else [] for one in answers]
    except Exception:  # noqa: BLE001 - it may exist for type checkers alone
        return None
    classes: list[type] = []
    for said in replied:
        if not said or not all(isinstance(each, type) and is_payload(each) for each in said):
            return None
        classes += [each for each in said if isinstance(each, type)]
    return tuple(classes)


def description_of(handler: Callable[..., Any]) -> str:
    """The docstring of a handler, or of its class where it is an object; empty where there is none."""
    inner = _function_of(handler)
    doc = inner.__doc__ if inspect.isroutine(inner) else _doc_of_class(inner)
    return inspect.cleandoc(doc) if doc else ""


def _doc_of_class(handler: Any) -> str | None:
    """The docstring of a handler's class, but not the signature that a dataclass is given for one; else that of its call."""
    cls: Any = handler.__class__
    own = cls.__doc__ or ""
    return own if own and not own.startswith(f"{cls.__name__}(") else cls.__call__.__doc__


def _first_on_the_path(folder: Path) -> None:
    if str(folder) in sys.path:
        sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()  # files may have been written since it was looked into


def _must_be_from(folder: Path, module_name: str) -> None:
    """Raises when the folder has such a module, but Python has loaded another one of that name already."""
    search = [str(folder)]
    name = ""
    for part in module_name.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(part, search)  # by its last name alone: open packages look for their parents
        if spec is None:
            return
        loaded = sys.modules.get(name)
        if loaded is not None and not _is_same(spec, loaded):
            there = vars(loaded).get("__file__") or _origin(vars(loaded).get("__spec__")) or "Python itself"
            raise ConfigurationError(
                [f"module '{name}' is {_origin(spec)} here, but was loaded from {there} before: rename one of them"]
            )
        if spec.submodule_search_locations is None:
            return
        search = list(spec.submodule_search_locations)


def _is_same(spec: ModuleSpec, loaded: types.ModuleType) -> bool:
    if spec.origin is None:
        # Packages without an __init__ are open: they span every folder of the path.
        return vars(loaded).get("__file__") is None and "__path__" in vars(loaded)
    file = vars(loaded).get("__file__")
    return file is not None and Path(file).resolve() == Path(spec.origin).resolve()


def _origin(spec: ModuleSpec | None) -> str | None:
    if spec is None:
        return None
    if spec.origin is None and spec.submodule_search_locations:
        return next(iter(spec.submodule_search_locations), None)
    return spec.origin


def _imported(module_name: str, folder: Path | None) -> types.ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name != missing and not module_name.startswith(f"{missing}."):
            raise _failed(module_name, folder, error) from error
        raise ConfigurationError([_not_there(module_name, missing, folder)]) from None
    # Whatever the user's module raises is its mistake, also where it leaves by sys.exit.
    except (Exception, SystemExit) as error:
        raise _failed(module_name, folder, error) from error


def _not_there(module_name: str, missing: str, folder: Path | None) -> str:
    above, _, last = missing.rpartition(".")
    path: Iterable[str] = [str(folder)] if folder else []
    if above:
        package = vars(sys.modules[above]) if above in sys.modules else {}
        if "__path__" not in package:
            return f"there is no module '{module_name}': '{above}' is not a package"
        path = package["__path__"]
    search = list(path)
    near = suggestion(last, [found.name for found in pkgutil.iter_modules(search)])
    where = f" in {search[0]}" if search else ""
    return f"there is no module '{missing}'{where}{near}"


def _failed(module_name: str, folder: Path | None, error: BaseException) -> ImportFailedError:
    """One line that names the line of the user's code at which the import failed."""
    place = ""
    if isinstance(error, SyntaxError) and error.filename:
        place = f"{error.filename}:{error.lineno}: "
        said = error.msg
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
        mine = [frame for frame in frames if folder is not None and Path(frame.filename).is_relative_to(folder)]
        if mine or len(frames) > 1:
            frame = (mine or frames)[-1]
            place = f"{frame.filename}:{frame.lineno}: "
        said = str(error).partition("\n")[0]
    return ImportFailedError(module_name, f"{place}{type(error).__name__}: {said}")


def payloads_beside(handler: Any) -> Iterator[type]:
    """The payload classes that a handler's module knows: what it may send, and keep in its state."""
    inner = _called(handler)
    yield from (
        value for value in getattr(inner, "__globals__", {}).values() if isinstance(value, type) and is_payload(value)
    )


def _function_of(handler: Any) -> Any:
    """Below the layers of functools.partial."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler


def _called(handler: Any) -> Any:
    """The function or method that is called in the end: below partials and decorators; of an object its ``__call__``."""
    inner = inspect.unwrap(_function_of(handler))
    return inner if inspect.isroutine(inner) else inspect.unwrap(type(inner).__call__)


def _name_of(handler: Any) -> str:
    inner = _function_of(handler)
    return f"'{getattr(inner, '__qualname__', type(inner).__qualname__)}'"


def _must_answer(handler: Any, name: str) -> None:
    """Raises where calling it gives neither answers nor a coroutine."""
    if inspect.isclass(handler):
        raise ConfigurationError([f"{name} is a class: name an object of it, or a function; {_SHAPE}"])
    if not callable(handler):
        raise ConfigurationError([f"{name} cannot be called; {_SHAPE}"])
    if any(inspect.isasyncgenfunction(way) or inspect.isgeneratorfunction(way) for way in _ways(handler)):
        raise ConfigurationError(
            [f"{name} yields: return the answers instead, as a list where there are several; {_SHAPE}"]
        )


def _ways(handler: Any) -> tuple[Any, Any]:
    """What calling it calls: the object itself, and the method that makes it callable."""
    return handler, getattr(handler, "__call__", None)  # noqa: B004 - the method itself, not whether there is one


def awaitable(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler as the pump calls it: one that is a plain ``def`` is called in a thread by its context."""
    if any(inspect.iscoroutinefunction(way) for way in _ways(handler)):
        return handler

    async def call(message: Any, ctx: Any) -> Any:
        return await ctx.in_thread(handler, message, ctx)

    functools.update_wrapper(call, handler)
    vars(call)["__wrapped__"] = _function_of(handler)  # what it takes and replies is read there
    return call


def _message_parameter(handler: Any, name: str) -> inspect.Parameter:
    """Its first parameter, once it is sure that it can be called with a message and a context."""
    try:
        signature = signature_of(handler)
        signature.bind(None, None)
    except (TypeError, ValueError):
        raise ConfigurationError([f"{name} cannot be called with a message and a context; {_SHAPE}"]) from None
    first = next(iter(signature.parameters.values()))
    if first.kind is inspect.Parameter.VAR_POSITIONAL:
        raise ConfigurationError([f"{name} does not name its message: '*{first.name}' takes anything; {_SHAPE}"])
    return first


def _resolved(annotation: object, handler: Any, name: str, parameter: str) -> list[object]:
    """The members of the annotation as objects. Only this one is evaluated: that of the context may exist for type checkers alone."""
    inner = _called(handler)
    holder = types.SimpleNamespace(__annotations__={parameter: annotation})
    try:
        return [*members(typing.get_type_hints(holder, getattr(inner, "__globals__", {}))[parameter])]
    except Exception as error:
        raise ConfigurationError(
            [f"{name}: the annotation of '{parameter}' cannot be resolved ({type(error).__name__}: {error}); {_AT_TOP}"]
        ) from error
