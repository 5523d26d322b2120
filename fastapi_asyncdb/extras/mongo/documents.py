"""``Document``, and how the attributes of a model are stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from bson import ObjectId
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pymongo import IndexModel

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.mongo.object_id import DocumentId
from fastapi_asyncdb.extras.mongo.values import plain

M = TypeVar("M", bound=BaseModel)

KEY = "_id"


class Document(BaseModel):
    """A base class for models of documents, with an ``id`` that is stored as ``_id``.

    Any Pydantic model with ``__collection__`` and a field whose alias is ``_id`` will do as well.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(populate_by_name=True)

    __collection__: ClassVar[str]
    """The name of the collection."""
    __indexes__: ClassVar[Sequence[IndexModel]] = ()
    """PyMongo's: ``IndexModel("email", unique=True)``."""

    id: DocumentId = Field(default_factory=ObjectId, validation_alias=AliasChoices(KEY, "id"))


@dataclass(frozen=True, slots=True)
class Layout:
    """How the attributes of a model are stored."""

    model: type[BaseModel]
    collection: str
    key: str
    """The attribute that is stored as ``_id``."""
    stored: Mapping[str, str]
    """The names of the fields by attribute."""
    dumped: Mapping[str, str]
    """The names by attribute that Pydantic dumps."""
    types: Mapping[str, TypeAdapter[Any]]
    """The types of the attributes, with their constraints."""

    def name(self, attribute: str) -> str:
        """Return the name of a stored field.

        Raises:
            TypeError: the model has no such attribute.
        """
        try:
            return self.stored[attribute]
        except KeyError:
            raise TypeError(
                f"{attribute!r} is no attribute of {self.model.__name__}. Fields of nested "
                "documents are for raw_filter."
            ) from None

    def fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values by attribute as they are stored.

        Raises:
            TypeError: the model has no such attribute.
            InvalidValue: a value could be read as an operator, or cannot be stored.
            pydantic.ValidationError: a value does not fit: the document could not be read again.
        """
        return {
            self.name(attribute): self._stored(attribute, value)
            for attribute, value in values.items()
        }

    def _stored(self, attribute: str, value: Any) -> Any:
        plain(value)  # an operator is refused as one, whatever the type is
        return plain(self.types[attribute].validate_python(value))

    def document(self, instance: BaseModel) -> dict[str, Any]:
        """Return an object of the model as it is stored."""
        values = instance.model_dump(by_alias=True)
        named = ((self.stored[name], key) for name, key in self.dumped.items())
        return {stored: plain(values[key]) for stored, key in named if key in values}

    def key_of(self, target: Any) -> Any:
        """Return the key of an object, or a value as a key; ``None`` if no document can have it."""
        if isinstance(target, self.model):
            return getattr(target, self.key)
        try:
            return plain(self.types[self.key].validate_python(target))
        except ValidationError:
            return None


def layout_of(model: Any) -> Layout:
    """Return how a model is stored.

    Raises:
        ConfigurationError: it has no ``__collection__``, or no field is ``_id``.
    """
    return _layout_of(model)


@cache
def _layout_of(model: type[BaseModel]) -> Layout:
    collection = getattr(model, "__collection__", None)
    stored = {name: _stored_name(name, field) for name, field in model.model_fields.items()}
    keys = [name for name, field in stored.items() if field == KEY]
    if not collection or len(keys) != 1:
        raise ConfigurationError(
            f"{model.__name__} is no model of a collection: it needs '__collection__: "
            "ClassVar[str] = ...' and a field with the alias '_id'. Derive it from Document, "
            "which has the field."
        )
    dumped = {name: field.serialization_alias or name for name, field in model.model_fields.items()}
    types = {name: _type_of(field) for name, field in model.model_fields.items()}
    return Layout(model, collection, keys[0], stored, dumped, types)


def _type_of(field: FieldInfo) -> TypeAdapter[Any]:
    annotated: Any = field.annotation
    if field.metadata:
        annotated = Annotated[annotated, *field.metadata]
    return TypeAdapter(annotated)


def _stored_name(name: str, field: Any) -> str:
    """Return the alias by which the field is read, or its own name."""
    alias = field.validation_alias or field.alias
    if isinstance(alias, AliasChoices):
        alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
    return alias if isinstance(alias, str) else name


def read(model: type[M], documents: Iterable[Mapping[str, Any]]) -> list[M]:
    """Return stored documents as objects of a model.

    Raises:
        pydantic.ValidationError: a document does not fit.
    """
    return [model.model_validate(document) for document in documents]
