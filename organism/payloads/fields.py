"""The fields of a class that attrs or dataclasses made, with their annotations evaluated."""

from __future__ import annotations

import dataclasses
import inspect
import keyword
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_type_hints

import attrs

from organism.errors import PayloadTypeError
from organism.payloads.annotations import read
from organism.payloads.definition import describe, is_payload
from organism.payloads.faults import Misfit
from organism.payloads.normal import normaliser
from organism.payloads.types import MADE, Field, FieldType
from organism.signatures import as_written, signature_of

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class NotYetError(PayloadTypeError):
    """An annotation names what does not exist yet."""


@attrs.frozen(eq=False)
class Scope:
    """The names that annotations may use: those around the decorator."""

    globals: Mapping[str, Any]
    locals: Mapping[str, Any]

    def kept(self) -> Scope:
        """A copy of the names in a function, which its frame will forget."""
        return self if self.locals is self.globals else Scope(self.globals, dict(self.locals))

    def evaluate(self, annotation: Any, cls: type, owner: type) -> Any:
        """The annotation of a field of ``owner`` with its names looked up; raises NameError for one that does not exist."""
        module = sys.modules.get(owner.__module__)
        around = vars(module) if module is not None else dict(self.globals)
        local = {**self.locals, owner.__name__: owner, cls.__name__: cls}
        holder = type("Holder", (), {"__annotations__": {"field": annotation}})
        return get_type_hints(holder, around, local, include_extras=True)["field"]


def kind_of(cls: type) -> str | None:
    """``attrs`` or ``dataclass`` where one of them made this very class."""
    if "__attrs_attrs__" in cls.__dict__:
        return "attrs"
    return "dataclass" if "__dataclass_params__" in cls.__dict__ else None


def documentation(cls: type) -> str:
    """The class's own docstring without indentation; not the signature that dataclasses put there."""
    doc = cls.__doc__ or ""
    return "" if doc.startswith(f"{cls.__name__}(") else _sayable(inspect.cleandoc(doc))


def fields_of(cls: Any, scope: Scope) -> tuple[Field, ...]:
    """The fields in the order of the class.

    Raises NotYetError where an annotation names what does not exist (yet), PayloadTypeError for what cannot be a field.
    """
    given = _attrs_fields(cls) if kind_of(cls) == "attrs" else _dataclass_fields(cls)
    fields = tuple(_field(cls, one, scope) for one in given)
    takes = list(signature_of(cls.__init__).parameters)[1:]
    if set(takes) != {field.argument for field in fields}:
        raise PayloadTypeError(
            f"{cls.__qualname__}: the constructor takes {', '.join(takes) or 'nothing'}, the fields are "
            f"{', '.join(field.attribute for field in fields) or 'none'}; leave out init=False, InitVar and an own __init__"
        )
    return fields


@attrs.frozen
class _Given:
    """A field as attrs or dataclasses know it."""

    attribute: str
    argument: str
    annotation: Any
    default: Any
    keyword_only: bool
    owner: type


def _attrs_fields(cls: type) -> Iterator[_Given]:
    for one in attrs.fields(cls):
        owner = next(
            base
            for base in cls.__mro__
            if "__attrs_attrs__" in base.__dict__
            and any(own.name == one.name and not own.inherited for own in attrs.fields(base))
        )
        default = MADE if isinstance(one.default, attrs.Factory) else one.default  # type: ignore[arg-type] # a class
        yield _Given(one.name, one.alias or one.name, one.type, default, bool(one.kw_only), owner)


def _dataclass_fields(cls: Any) -> Iterator[_Given]:
    for one in dataclasses.fields(cls):
        # A dataclass takes over the very Field objects of its bases.
        owner = next(
            base for base in reversed(cls.__mro__) if base.__dict__.get("__dataclass_fields__", {}).get(one.name) is one
        )
        default = attrs.NOTHING if one.default is dataclasses.MISSING else one.default
        made = one.default_factory is not dataclasses.MISSING
        yield _Given(one.name, one.name, one.type, MADE if made else default, one.kw_only is True, owner)


def _field(cls: type, given: _Given, scope: Scope) -> Field:
    where = f"{cls.__qualname__}.{given.attribute}"
    if _NAME.fullmatch(given.attribute) is None:
        raise PayloadTypeError(
            f"{where}: the name of a field must be of ASCII letters, digits and '_', and begin with a letter, since "
            "everything in a payload is public; rename the field"
        )
    if given.owner is not cls and is_payload(given.owner):
        known = next(field for field in describe(given.owner).fields if field.attribute == given.attribute)
        type_, doc = known.type, known.doc
    else:
        type_, doc = _read(cls, given, scope, where)
    default = given.default
    if default is not attrs.NOTHING and default is not MADE:
        try:
            default = normaliser(type_)(default)
        except Misfit as misfit:
            raise PayloadTypeError(f"{where}{misfit.path}: the default does not fit: {misfit.problem}") from None
    return Field(
        name=_wire_name(given.attribute),
        attribute=given.attribute,
        argument=given.argument,
        type=type_,
        default=default,
        doc=_sayable(doc),
        keyword_only=given.keyword_only,
    )


def _read(cls: type, given: _Given, scope: Scope, where: str) -> tuple[FieldType, str]:
    if given.annotation is None:
        raise PayloadTypeError(f"{where}: has no type, or None alone; write one, as in '{given.attribute}: str'")
    shown = repr(as_written(given.annotation) or given.annotation)
    try:
        # Of what ``type X = ...`` names, Python looks up names no sooner than it is read.
        return read(scope.evaluate(given.annotation, cls, given.owner), where=where)
    except PayloadTypeError:
        raise
    except NameError as error:
        raise NotYetError(
            f"{where}: the annotation {shown} names {error.name!r}, which does not exist; define or import it "
            "at the level of the module (not under TYPE_CHECKING), before the payload is used"
        ) from error
    except Exception as error:
        raise PayloadTypeError(f"{where}: the annotation {shown} cannot be evaluated: {error}") from error


def _wire_name(attribute: str) -> str:
    """``class_`` is ``class`` on the wire: there the word is not taken."""
    bare = attribute.removesuffix("_")
    return bare if keyword.iskeyword(bare) else attribute


def _sayable(doc: str) -> str:
    """The text with a question mark for each lone surrogate, which no document could hold."""
    return doc.encode(errors="replace").decode()
