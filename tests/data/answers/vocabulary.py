"""The names that the sources of random schemas use."""

# ruff: noqa: F401
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, Literal, Optional, TypeVar
from uuid import UUID

import pydantic.dataclasses
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    PlainValidator,
    RootModel,
    SecretStr,
    SerializeAsAny,
    SkipValidation,
    WrapSerializer,
    WrapValidator,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel, to_pascal
from typing_extensions import TypedDict

from fastapi_asyncdb import Related
from tests.data.answers.museum.columns import Color, Grade, Mixed, Style

S = TypeVar("S")


class Document(BaseModel):
    a: Any


class SizeOut(BaseModel):
    width: int | None
    height: int | None


@dataclass
class DocumentData:
    a: Any


def same(value: Any) -> Any:
    """Return a value as it is."""
    return value


def around(value: Any, handler: Any) -> Any:
    """Let Pydantic validate, or write, a value."""
    return handler(value)


def text_of(value: Any) -> str:
    """Return a text that tells the type of a value."""
    return f"{type(value).__name__}"


def positive(value: Any) -> Any:
    """Refuse what is negative."""
    if isinstance(value, int) and value < 0:
        raise ValueError("negative")
    return value


def object_only(data: Any) -> Any:
    """Refuse a mapping, which FastAPI does not pass here."""
    if isinstance(data, dict):
        raise TypeError("no object")
    return data


def names_of(value: Any) -> Any:
    """Return the keys of related objects."""
    return [each.id for each in value] if isinstance(value, list) else value


def key_of(value: Any) -> Any:
    """Return the key of a related object."""
    return getattr(value, "id", value)
