"""Reads the shape of a schema from what Pydantic has compiled: its core schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from fastapi_asyncdb.data.answers.core_schemas import MODELS, CoreSchema, models_in
from fastapi_asyncdb.data.answers.related import Related
from fastapi_asyncdb.data.answers.shape import Field, Leaf, Shape

LEAVES = {"any", "bool", "date", "datetime", "decimal", "enum", "float", "int", "str", "uuid"}
"""Types of Pydantic's core whose JSON the databases may know."""
# What changes neither a value nor its JSON. All other keys make a schema one that Pydantic has to apply.
_PLAIN_LEAF = {"type", "ref", "metadata", "cls", "members", "sub_type", "microseconds_precision"}
_PLAIN_FIELD = {
    "type", "name", "schema", "metadata", "required", "frozen", "init_only", "kw_only", "init",
    "validation_alias", "serialization_alias",
}  # fmt: skip
_PLAIN_REFERENCE = {"type", "schema_ref", "ref", "metadata"}
_PLAIN_AROUND = {"type", "schema", "ref", "metadata"}
# Of a default that no attribute of an object lets Pydantic use.
_PLAIN_DEFAULT = _PLAIN_AROUND | {
    "default", "default_factory", "default_factory_takes_data", "validate_default", "copy_default",
}  # fmt: skip
_PLAIN_MODEL = {
    "type", "cls", "schema", "config", "ref", "metadata", "custom_init", "root_model", "frozen",
    "generic_origin", "fields", "cls_name", "slots", "computed_fields", "model_name", "dataclass_name",
}  # fmt: skip
_PLAIN_CONFIG = {
    "title", "from_attributes", "validate_by_name", "validate_by_alias", "serialize_by_alias",
    "populate_by_name", "regex_engine", "validate_default", "hide_input_in_errors", "frozen",
}  # fmt: skip


def shape_of(schema: Any) -> Shape | None:
    """Return the shape of a schema; ``None`` if it is none with fields, such as ``int``."""
    core, definitions = _core_of(schema)
    return _Reader(definitions).shape(core)


def shapes_of(schema: Any) -> tuple[Shape, ...]:
    """Return the shapes of a schema without fields, such as those of ``CatOut | DogOut``."""
    core, definitions = _core_of(schema)
    return tuple(_Reader(definitions).inside(core))


def _core_of(schema: Any) -> tuple[CoreSchema, Mapping[str, CoreSchema]]:
    core: Any = TypeAdapter(schema).core_schema
    definitions: dict[str, CoreSchema] = {}
    while core["type"] == "definitions":
        definitions |= {each["ref"]: each for each in core["definitions"]}
        core = core["schema"]
    return core, definitions


class _Reader:
    def __init__(self, definitions: Mapping[str, CoreSchema]) -> None:
        self._definitions = definitions
        self._open: list[Any] = []
        """The schemas that are being read, the outermost first."""

    def shape(self, core: CoreSchema) -> Shape | None:
        core = self._resolved(core)
        doubt, needs_object = None, False
        while core["type"] not in MODELS:
            # Validators around a model, such as model_validator(mode="before").
            if "schema" not in core or not core["type"].startswith("function-"):
                return None
            doubt = _validator(core)
            needs_object |= core["type"] != "function-after"
            core = self._resolved(core["schema"])
        inner, validator = (core, None) if core["type"] == "typed-dict" else self._inner(core)
        if inner is None:
            return None
        needs_object |= validator is not None
        doubt = validator or doubt or self._doubt(core) or self._doubt(inner)
        needs_object |= core.get("config", {}).get("extra_fields_behavior", "ignore") != "ignore"
        cls = core["cls"]
        self._open.append(cls)
        fields = tuple(self._fields(cls, inner))
        self._open.pop()
        return Shape(cls, fields, doubt, needs_object)

    def inside(self, core: CoreSchema) -> Iterator[Shape]:
        """Yield the shapes of the schemas in it, but of those that are being read."""
        for each in models_in(core, self._definitions):
            shape = None if each["cls"] in self._open else self.shape(each)
            if shape is not None:
                yield shape

    def _resolved(self, core: CoreSchema) -> CoreSchema:
        while core["type"] == "definition-ref":
            # What a reference has, such as a serializer, is of this place alone.
            here = {key: core[key] for key in core if key not in _PLAIN_REFERENCE}
            core = {**self._definitions[core["schema_ref"]], **here}
        return core

    def _inner(self, core: CoreSchema) -> tuple[CoreSchema | None, str | None]:
        """Return what has the fields, or ``None`` in a root model; and a validator around it."""
        inner, validator = self._resolved(core["schema"]), None
        if inner["type"].startswith("function-"):
            validator, inner = _validator(inner), self._resolved(inner["schema"])
        return (inner, validator) if inner["type"] == MODELS[core["type"]] else (None, None)

    def _doubt(self, core: CoreSchema) -> str | None:
        if core.get("computed_fields"):
            return "computed fields"
        if "serialization" in core:
            return "a serializer of its own"
        if core.get("custom_init") and not _validates_alone(core["cls"]):
            return "an __init__ of its own"
        more = {key for key in core if key not in _PLAIN_MODEL and core[key] not in (None, False)}
        more |= {key for key in core.get("config") or {} if key not in _PLAIN_CONFIG}
        return f"the setting {min(more)}" if more - {"extra_behavior"} else None

    def _fields(self, cls: type[Any], inner: CoreSchema) -> Iterator[Field]:
        fields = inner["fields"]
        named = fields.items() if isinstance(fields, Mapping) else ((f["name"], f) for f in fields)
        config = {**(inner.get("config") or {}), **_config(cls)}
        for name, field in named:
            yield self._field(cls, name, field, config)

    def _field(
        self, cls: type[Any], name: str, field: CoreSchema, config: Mapping[str, Any]
    ) -> Field:
        core, required = self._resolved(field["schema"]), field.get("required", True)
        doubt = _more(field, _PLAIN_FIELD) or _outside_of_init(field)
        if core["type"] == "default":
            doubt = doubt or _more(core, _PLAIN_DEFAULT)
            core, required = self._resolved(core["schema"]), False
        nullable = core["type"] == "nullable"
        if nullable:
            doubt = doubt or _more(core, _PLAIN_AROUND)
            core = self._resolved(core["schema"])
        many = core["type"] == "list"
        if many:
            doubt = doubt or _more(core, {"type", "items_schema", "metadata", "ref"})
            core = self._resolved(core.get("items_schema", {"type": "any"}))
        aliases, by_name, by_path = _aliases(field, config)
        recursive = any(each["cls"] in self._open for each in models_in(core, self._definitions))
        value = None if recursive else self._value(core, many=many)
        if value is None:
            kind = f"a list of the type {core['type']}" if many else _type(core)
            doubt = doubt or ("itself in it" if recursive else kind)
        elif isinstance(value, Leaf):
            doubt = doubt or _more(core, _PLAIN_LEAF)
        if by_path:
            doubt = doubt or "its aliases"
        shapes = (value,) if isinstance(value, Shape) else tuple(self.inside(core))
        return Field(
            name=name,
            attributes=(*aliases, *((name,) if by_name else ())),
            key=field.get("serialization_alias", name),
            value=value,
            doubt=doubt,
            many=many,
            nullable=nullable or core["type"] == "any",
            required=required,
            recursive=recursive,
            by_path=by_path,
            related=_related(cls, name),
            shapes=() if recursive else shapes,
        )

    def _value(self, core: CoreSchema, *, many: bool) -> Leaf | Shape | None:
        if core["type"] in LEAVES:
            return None if many else Leaf(core["type"], core.get("cls"))
        return self.shape(core)


def _config(cls: type[Any]) -> Mapping[str, Any]:
    config = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    return dict(config)


def _aliases(field: CoreSchema, config: Mapping[str, Any]) -> tuple[tuple[str, ...], bool, bool]:
    """Return the attributes of the aliases; whether the name is one, too; whether one is a path."""
    alias = field.get("validation_alias")
    if alias is None or config.get("validate_by_alias") is False:
        return (), True, False
    by_name = bool(config.get("populate_by_name") or config.get("validate_by_name"))
    if isinstance(alias, str):
        return (alias,), by_name, False
    paths = alias if isinstance(alias[0], list) else [alias]
    attributes = dict.fromkeys(path[0] for path in paths if isinstance(path[0], str))
    return tuple(attributes), by_name, any(len(path) > 1 for path in paths)


def _more(core: CoreSchema, plain: set[str]) -> str | None:
    more = {key for key in core if key not in plain and core[key] is not None}
    if "serialization" in more:
        return "a serializer of its own"
    if core.get("microseconds_precision", "truncate") != "truncate":
        return "the setting microseconds_precision"
    return f"the setting {min(more)}" if more else None


def _validates_alone(cls: type[Any]) -> bool:
    """Return whether an ``__init__`` is that of SQLModel, which does no more than validate.

    That of a table does not validate.
    """
    init: Any = cls.__init__
    return init.__module__ == "sqlmodel.main" and not hasattr(cls, "__table__")


def _outside_of_init(field: CoreSchema) -> str | None:
    """Return what a field of a dataclass has that is not both an argument and an attribute."""
    if field.get("init_only"):
        return "the type InitVar"
    return "init=False" if field.get("init") is False else None


def _type(core: CoreSchema) -> str:
    return _validator(core) if core["type"].startswith("function-") else f"the type {core['type']}"


def _validator(core: CoreSchema) -> str:
    kind = core["type"].removeprefix("function-")
    return f"{'an' if kind == 'after' else 'a'} {kind} validator"


def _related(cls: type[Any], name: str) -> Related | None:
    fields = getattr(cls, "__pydantic_fields__", None)
    found = _metadata(cls, name) if fields is None else fields[name].metadata
    return next((each for each in found if isinstance(each, Related)), None)


def _metadata(cls: type[Any], name: str) -> Sequence[Any]:
    """Return what is annotated in a dataclass or a TypedDict, of which Pydantic keeps no fields."""
    try:
        hint = get_type_hints(cls, include_extras=True).get(name)
    except NameError:  # of a class that is defined in a function; Pydantic knows its names
        hint = cls.__annotations__.get(name)
    return getattr(hint, "__metadata__", ())
