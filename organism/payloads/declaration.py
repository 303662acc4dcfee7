"""``@payload``: what makes a class a payload."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, dataclass_transform, overload

import attrs

from organism.errors import PayloadTypeError
from organism.payloads.construction import Check, check_of
from organism.payloads.definition import Definition, definition_if_any, describe, is_payload
from organism.payloads.fields import NotYetError, Scope, documentation, fields_of, kind_of
from organism.payloads.types import PayloadType
from organism.quick import quick

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

NAMESPACE: Final = "urn:organism:payloads"
"""The XML namespace of payloads that do not name another."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9:/?#@!$()*+,;=._~-]+")
_HOOK: Final = "__attrs_post_init__"


@overload
def payload(cls: type[T], /) -> type[T]: ...
@overload
def payload(*, namespace: str = NAMESPACE) -> Callable[[type[T]], type[T]]: ...
@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field, dataclasses.field))
def payload(cls: type[T] | None = None, /, *, namespace: str = NAMESPACE) -> type[T] | Callable[[type[T]], type[T]]:
    """Makes a class a payload: a frozen value that can be sent. ::

        @payload
        class Question:
            '''What a reader wants to know.'''

            text: Annotated[str, "In one sentence."]
            most: int = 3

    Fields are ``str``, ``int``, ``float``, ``bool``, ``Decimal``, ``datetime`` (with a time zone), ``bytes``, enums, ``Literal``,
    payloads, ``X | None``, ``list[X]``, ``tuple[X, ...]``, ``dict[str, X]`` and unions of payloads. Agents read the docstring and the
    texts in ``Annotated``.

    A plain class becomes a frozen attrs class with slots; an ``@attrs.frozen`` class or a frozen dataclass is taken as it
    is. From then on constructing it checks the types of all fields (InvalidPayloadError with the path of the field) and
    brings them into a normal form: lists become tuples, dicts immutable, an int in a float field a float, values of
    derived types plain ones, a datetime gets a fixed offset. So two receivers can share one object. Validators and
    converters of the fields are attrs' own, and run before that; an ``__attrs_post_init__`` of a plain class runs after it.

    ``namespace`` is its XML namespace, an absolute URI. Raises PayloadTypeError where the class cannot be a payload; an
    annotation that names a class that does not exist yet is looked up again when the payload is first used.
    """
    frame = inspect.currentframe()
    caller = frame.f_back if frame is not None else None
    scope = Scope(caller.f_globals, caller.f_locals) if caller is not None else Scope({}, {})
    if _URI.fullmatch(namespace) is None:
        raise PayloadTypeError(f"the namespace {namespace!r} is not an absolute URI; write for example {NAMESPACE}")
    if cls is None:
        return lambda later: _declare(later, namespace, scope)
    return _declare(cls, namespace, scope)


def _declare(cls: type[T], namespace: str, scope: Scope) -> type[T]:
    _refuse_class(cls)
    ready = kind_of(cls) is not None
    made = cls if ready else _made(cls)
    hook = _written_hook(made)
    install = _behind_init(made) if ready else _in_post_init(made, hook)

    def described() -> PayloadType:
        """Reads the fields and installs the check; raises PayloadTypeError."""
        nonlocal scope
        fields = fields_of(made, scope)
        known = PayloadType(cls=made, name=made.__name__, namespace=namespace, doc=documentation(made), fields=fields)
        install(check_of(known))
        scope = Scope({}, {})  # lets the names of the function around the class go
        return known

    Definition(made, described, hook).attach()
    try:
        describe(made)
    except NotYetError:
        scope = scope.kept()
    return made


def _refuse_class(cls: Any) -> None:
    """Raises PayloadTypeError for what cannot be a payload whatever its fields are."""
    if not isinstance(cls, type):
        raise PayloadTypeError(f"@payload is for classes, not for {cls!r}")
    name = f"{cls.__module__}.{cls.__qualname__}"
    if is_payload(cls):
        raise PayloadTypeError(f"{name} is a payload already; decorate it once")
    if _NAME.fullmatch(cls.__name__) is None:
        raise PayloadTypeError(
            f"{name}: the name of a payload must be of ASCII letters, digits and '_'; rename the class"
        )
    if Generic in cls.__mro__ or getattr(cls, "__type_params__", False):
        raise PayloadTypeError(
            f"{name} is generic: a document could not say which type it holds; write one payload for each type"
        )
    for base in cls.__mro__[1:-1]:
        if base.__module__ == "builtins" or issubclass(base, Enum):
            raise PayloadTypeError(
                f"{name} derives from {base.__name__}; a payload has fields only, make that one of them"
            )
    _refuse_kind(cls, name)


def _refuse_kind(cls: Any, name: str) -> None:
    kind = kind_of(cls)
    for base in cls.__mro__[1:]:
        inherited = kind_of(base)
        if inherited is not None and inherited != (kind or "attrs"):
            way_out = "@dataclass(frozen=True)" if inherited == "dataclass" else "@attrs.frozen"
            raise PayloadTypeError(
                f"{name} derives from {base.__name__}, whose fields it would not have; put {way_out} below its @payload too"
            )
    frozen = attrs.inspect(cls).is_frozen if kind == "attrs" else kind is None or cls.__dataclass_params__.frozen
    if not frozen:
        raise PayloadTypeError(
            f"{name} can be changed, and receivers share it; use @attrs.frozen or @dataclass(frozen=True)"
        )
    if kind is not None and cls.__eq__ is object.__eq__:
        raise PayloadTypeError(f"{name} has no equality of its own; leave out eq=False")


# ---- where the check runs ---------------------------------------------------------------------------------------------


def _made(cls: type[T]) -> type[T]:
    """A frozen attrs class with slots, whose constructor calls ``__attrs_post_init__``."""
    if "__init__" in cls.__dict__:
        raise PayloadTypeError(f"{cls.__qualname__} has an __init__ of its own; write {_HOOK} instead")
    own = _HOOK in cls.__dict__
    if not own:
        # attrs writes the call only where there is something to call.
        setattr(cls, _HOOK, _go_on)
    try:
        made = quick(attrs.frozen(cls, slots=True))
    except (TypeError, ValueError, SyntaxError, attrs.exceptions.UnannotatedAttributeError) as error:
        said = error.msg if isinstance(error, SyntaxError) else error  # of a field that is named 'self'
        raise PayloadTypeError(f"{cls.__qualname__}: {said}") from error
    if not own:
        delattr(made, _HOOK)
    return made


def _written_hook(cls: type) -> Callable[[Any], None] | None:
    """The ``__attrs_post_init__`` that somebody wrote, in the class or the nearest of its bases; not the one put there."""
    for base in cls.__mro__:
        definition = definition_if_any(base)
        if definition is not None:
            return definition.hook
        if _HOOK in base.__dict__:
            return cast("Callable[[Any], None]", base.__dict__[_HOOK])
    return None


def _in_post_init(cls: type, hook: Callable[[Any], None] | None) -> Callable[[Check], None]:
    """Makes the check the ``__attrs_post_init__`` of a class, with what its author wrote there behind it."""

    def before_first(self: object) -> None:
        describe(cls)  # installs the check
        cls.__dict__[_HOOK](self)

    def install(check: Check) -> None:
        setattr(cls, _HOOK, check if hook is None else _both(check, hook))

    setattr(cls, _HOOK, before_first)
    return install


def _behind_init(cls: Any) -> Callable[[Check], None]:
    """Runs the check behind the constructor that the class already has."""
    constructor = cls.__init__

    def before_first(self: object) -> None:
        describe(cls)  # installs the check
        check(self)

    check: Check = before_first

    def install(known: Check) -> None:
        nonlocal check
        check = known

    @functools.wraps(constructor)
    def construct_and_check(self: object, *args: Any, **kwargs: Any) -> None:
        constructor(self, *args, **kwargs)
        check(self)

    cls.__init__ = construct_and_check
    return install


def _both(check: Check, hook: Callable[[Any], None]) -> Check:
    def check_and_go_on(self: object) -> None:
        check(self)
        hook(self)

    return check_and_go_on


def _go_on(_: object) -> None:
    """Holds the place of the check."""
