"""Random schemas of the museum, as source code: what a failure shows can be run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import inspect
from sqlalchemy.orm import Mapper, RelationshipProperty

from fastapi_asyncdb import Related
from tests.data.answers import vocabulary
from tests.data.answers.museum import models
from tests.data.answers.museum.rows import Draw
from tests.data.answers.museum.wanted import Wanted
from tests.data.answers.schema_parts import (
    ALIASES,
    AROUND,
    BODIES,
    CONFIGS,
    DATACLASSES,
    MANY,
    ONE,
    OTHERS,
    RELATED,
    RIGHT,
    SLOW,
    WRONG,
)


@dataclass
class Schema:
    """A schema of a mapped class."""

    name: str
    model: type[Any]
    mapping: bool = False
    """Whether Pydantic reads it from mappings alone: a dataclass, or a ``TypedDict``."""
    source: str = ""
    """Of it and of those that it contains."""
    columns: list[str] = field(default_factory=list)
    """The attributes that it reads of columns."""
    loads: list[tuple[str, Schema | None]] = field(default_factory=list)
    """The relationships that it reads, with their schemas; ``None`` stands for no schema."""
    recursive: list[str] = field(default_factory=list)
    """Those whose schema is itself."""
    related: dict[str, Related] = field(default_factory=dict)
    """Which rows it has of them."""
    is_unordered: bool = False
    """Whether it has a list whose order is not defined."""

    def build(self, whole: str = "{}") -> Any:
        """Return the schema.

        Args:
            whole: The type of a row, with a place for the name of the schema.
        """
        namespace: dict[str, Any] = dict(vars(vocabulary))
        exec(compile(self.source, self.name, "exec", dont_inherit=True), namespace)
        return eval(whole.format(self.name), namespace)

    @property
    def below(self) -> Iterator[Schema]:
        """The schemas in it, and in those, and itself."""
        yield self
        for _, child in self.loads:
            if child is not None:
                yield from child.below

    @property
    def others(self) -> Iterator[Mapper[Any]]:
        """The classes of the objects that it reads without a schema."""
        relationships = inspect(self.model).relationships
        for name, child in self.loads:
            if child is None:
                yield relationships[name].mapper.base_mapper


class Maker:
    """Makes schemas.

    Args:
        draw: Hypothesis' function.
        wanted: Gets what the schemas read.
    """

    def __init__(self, draw: Draw, wanted: Wanted) -> None:
        self._draw = draw
        self._wanted = wanted
        self._numbers = count(1)
        self._plain = draw(st.sampled_from([True, True, False]))
        """Whether most fields are what databases write."""

    def schema(self, model: type[Any], depth: int = 3) -> Schema:
        """Return a schema of a mapped class, with others in it to that depth."""
        mapper: Mapper[Any] = inspect(model)
        schema = Schema(f"Out{next(self._numbers)}", model, mapping=self._chance(15))
        self._wanted.add(model)
        fields = [self._leaf(schema, mapper, name) for name in self._names(mapper)]
        fields += self._others(schema, mapper, {*schema.columns})
        before, more = self._relations(schema, mapper, depth)
        # What has a default comes last, for dataclasses.
        lines = sorted([*fields, *more], key=_has_default)
        schema.source = before + self._class(schema, lines)
        return schema

    def _names(self, mapper: Mapper[Any]) -> list[str]:
        names = [each.key for each in mapper.column_attrs if each.key != "kind"]
        if self._plain and self._draw(st.integers(0, 3)):
            names = [name for name in names if name.removeprefix("maybe_") not in SLOW]
        chosen: list[str] = self._draw(
            st.lists(st.sampled_from(names), min_size=1, max_size=5, unique=True)
        )
        return chosen

    def _leaf(self, schema: Schema, mapper: Mapper[Any], name: str) -> str:
        schema.columns.append(name)
        kind, nullable = self._wanted.read(mapper.column_attrs[name])
        type_ = RIGHT[kind]
        if self._chance(8):
            type_ = self._draw(st.sampled_from(WRONG))
        optional = self._draw(st.sampled_from([nullable] * 8 + [not nullable]))
        if self._chance(10):
            around = self._draw(st.sampled_from(AROUND))
            inside = optional and self._draw(st.booleans())
            type_ = around.format(f"{type_} | None" if inside else type_)
            optional = optional and not inside
        if optional:
            type_ = f"Optional[{type_}]"
        default = " = None" if optional and self._draw(st.booleans()) else ""
        return self._field(schema, name, type_, default)

    def _field(self, schema: Schema, name: str, type_: str, default: str = "") -> str:
        if schema.mapping or not self._chance(4):
            return f"{name}: {type_}{default}"
        form: str = self._draw(st.sampled_from(ALIASES))
        return form.format(name, type_)

    def _others(self, schema: Schema, mapper: Mapper[Any], names: set[str]) -> Iterator[str]:
        """Yield a field of an attribute that is no column, sometimes."""
        others = next((OTHERS[each] for each in schema.model.__mro__ if each in OTHERS), [])
        if not others or schema.mapping or not self._chance(4):
            return
        line = self._draw(st.sampled_from(others))
        name = line.partition(":")[0]
        if name in names:
            return
        if name == "tag_names":
            schema.loads.append(("tags", None))
            self._wanted.relate(mapper.relationships["tags"])
        if name == "rooms":
            schema.loads.append(("visits", Schema("", models.Visit, loads=[("room", None)])))
            self._wanted.relate(mapper.relationships["visits"])
            self._wanted.add(models.Room)
        yield line

    def _relations(self, schema: Schema, mapper: Mapper[Any], depth: int) -> tuple[str, list[str]]:
        """Return the source of the schemas inside, and the fields."""
        taken = {name for name, _ in schema.loads}
        names = sorted(set(mapper.relationships.keys()) - taken)
        if not names or not depth:
            return "", []
        size = min(self._draw(st.sampled_from([0, 0, 1, 1, 2])), len(names))
        chosen = st.lists(st.sampled_from(names), min_size=size, max_size=size, unique=True)
        before, lines = "", []
        for name in self._draw(chosen):
            child, type_ = self._relation(schema, mapper.relationships[name], depth)
            schema.loads.append((name, child))
            before += "" if child is None else child.source
            lines.append(self._field(schema, name, type_))
        return before, lines

    def _relation(
        self, schema: Schema, found: RelationshipProperty[Any], depth: int
    ) -> tuple[Schema | None, str]:
        """Return the schema of a relationship, ``None`` if it is the same, and the type of its field."""
        self._wanted.relate(found)
        many = bool(found.uselist)
        schema.is_unordered |= many and not found.order_by
        forms = MANY if many else ONE
        form: str = forms[0] if self._plain else self._draw(st.sampled_from(forms))
        if found.mapper.class_ is schema.model and not schema.mapping and self._chance(3):
            schema.recursive.append(found.key)
            return None, f'"{form.format(schema.name)}"'
        if "{}" not in form:
            return None, form
        child = self.schema(found.mapper.class_, depth - 1)
        type_ = form.format(child.name)
        if self._draw(st.integers(0, 5)) == 5:
            key = "room_id" if child.model is models.Visit else "id"
            text = self._draw(st.sampled_from(RELATED if many else RELATED[:2])).format(key)
            schema.related[found.key] = eval(text, dict(vars(vocabulary)))
            type_ = f"Annotated[{type_}, {text}]"
        return child, type_

    def _class(self, schema: Schema, lines: list[str]) -> str:
        if schema.mapping:
            plain = not any(map(_has_default, lines)) and self._draw(st.booleans())
            head = "class {}(TypedDict):" if plain else self._draw(st.sampled_from(DATACLASSES))
            return _source(head.format(schema.name), lines)
        settings, body = [], []
        if self._chance(4):
            settings = [f"model_config = ConfigDict({self._draw(CONFIGS_TOGETHER)})"]
        if self._chance(8):
            first = lines[0].partition(":")[0]
            body = [self._draw(st.sampled_from(BODIES)).replace("{field}", first)]
        if self._chance(10):
            parent = f"{schema.name}Parent"
            above = _source(f"class {parent}(BaseModel):", [*settings, *lines[::2]])
            below = [*lines[1::2], *body] or ["pass"]
            return above + _source(f"class {schema.name}({parent}):", below)
        return _source(f"class {schema.name}(BaseModel):", [*settings, *lines, *body])

    def _chance(self, one_in: int) -> bool:
        if self._plain:
            one_in *= 6
        return bool(self._draw(st.integers(1, one_in)) == one_in)


def _settings_of(config: str) -> set[str]:
    return {each.partition("=")[0] for each in config.split(", ")}


CONFIGS_TOGETHER = (
    st.lists(st.sampled_from(CONFIGS), min_size=1, max_size=2)
    .filter(lambda found: len(found) == 1 or not set.intersection(*map(_settings_of, found)))
    .map(", ".join)
)


def _has_default(line: str) -> bool:
    return " = " in line


def _source(head: str, lines: list[str]) -> str:
    inside = ("    " + line.replace("\n", "\n    ") for line in lines)
    return "\n".join([head, *inside]) + "\n\n"
