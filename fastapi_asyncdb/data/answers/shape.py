"""``Shape``: the fields of a schema, and what is not plain about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi_asyncdb.data.answers.related import Related


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is one JSON value."""

    kind: str
    """The type of Pydantic's core, such as ``datetime``."""
    cls: type[Any] | None = None
    """The class of an enumeration."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a schema."""

    name: str
    attributes: tuple[str, ...]
    """The attributes that it is read from; the first that the object has."""
    key: str
    """Its name in JSON."""
    value: Leaf | Shape | None
    """What its values are; ``None`` if Pydantic alone knows."""
    doubt: str | None = None
    """Why Pydantic has to validate or to write its values."""
    many: bool = False
    nullable: bool = False
    required: bool = True
    recursive: bool = False
    """Whether its schema contains itself."""
    by_path: bool = False
    """Whether it may be read from inside of its attributes, or from the next one."""
    related: Related | None = None
    shapes: tuple[Shape, ...] = ()
    """The schemas that its values may be, or contain, such as those of ``dict[str, TagOut]``."""

    @property
    def is_narrowed(self) -> bool:
        """Whether it has a part of the related rows, or all in an order of its own."""
        return self.related is not None and self.related.narrows


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of a schema: of a Pydantic model, a dataclass or a TypedDict."""

    schema: type[Any]
    fields: tuple[Field, ...]
    doubt: str | None = None
    """Why Pydantic has to validate the whole of it."""
    needs_object: bool = False
    """Whether it has to validate an object, since a mapping is not the same to it."""

    @property
    def name(self) -> str:
        """The name of the schema."""
        return self.schema.__name__

    @property
    def nested(self) -> Iterator[Field]:
        """The fields that contain other schemas."""
        return (field for field in self.fields if field.shapes or field.recursive)
