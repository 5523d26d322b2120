"""Examples: rows, a statement, a schema, and the form in which an answer has it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Select, inspect

from tests.data.answers.museum import models
from tests.data.answers.museum.columns import DEFAULTS
from tests.data.answers.museum.rows import Draw, Rows, rows
from tests.data.answers.museum.wanted import Wanted
from tests.data.answers.schema_parts import WHOLE
from tests.data.answers.schemas import Maker, Schema
from tests.data.answers.selects import (
    FORMS,
    Form,
    key,
    ordered,
    with_joined_option,
    with_option,
)

MODELS = [
    *[models.Exhibit] * 6, *[models.Room] * 3, models.Tag, models.Keeper, models.Note, models.Insurance,
    models.Piece, models.Painting, models.Sculpture, models.Visitor, models.Member, models.Guest,
    models.Visit, models.Stamp, models.Crowd, models.Showcase,
]  # fmt: skip
ASKED = [
    *["list"] * 6, "route", "route", "one", "optional", "page", "cursor page", "lines", "array", "rows",
]  # fmt: skip
"""What is asked for: forms of ``answer()``, both of ``answer.stream()``, ``rows()``, and the answer of a
route of FastAPI."""


@dataclass
class Example:
    """What is answered."""

    schema: Schema
    whole: str
    """The type of a row."""
    form: Form
    relationship: str | None
    rows: Rows
    asked: str

    @property
    def statement(self) -> Select[Any]:
        """The statement."""
        return self._selected[0]

    @property
    def entity(self) -> Any:
        """The mapped class that it selects, or the alias."""
        return self._selected[1]

    @property
    def is_unordered(self) -> bool:
        """Whether there is a list whose order is not defined."""
        return any(each.is_unordered for each in self.schema.below)

    @property
    def reads_twice(self) -> bool:
        """Whether objects of a class are in two places, which may have other columns."""
        found = [inspect(each.model).base_mapper for each in self.schema.below]
        found += [each for schema in self.schema.below for each in schema.others]
        return len(set(found)) < len(found) or self.relationship is not None

    @cached_property
    def _selected(self) -> tuple[Select[Any], Any]:
        statement = self.form(self.schema.model, self.relationship)
        entity = statement.column_descriptions[0]["entity"]
        if self.asked in ("one", "optional"):
            statement = statement.limit(None).offset(None).where(key(entity) == 1)
        if "page" in self.asked:
            statement = statement.limit(None).offset(None)
        return ordered(statement, entity), entity

    def __repr__(self) -> str:
        return "\n".join(
            [
                f"{self.asked} of {self.whole} of {self.schema.model.__name__}: {self.form.__name__}",
                f"by {self.relationship}",
                self.schema.source,
                *(f"{name}: {list(map(_short, each))}" for name, each in self.rows.items()),
            ]
        )


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without what says nothing."""
    return {
        name: value
        for name, value in row.items()
        if value is not None and repr(value) != repr(DEFAULTS.get(name))
    }


@st.composite
def examples(draw: Draw, database: str) -> Example:
    """Return examples with what a database can store.

    Args:
        draw: Hypothesis' function.
        database: The name of SQLAlchemy's dialect.
    """
    wanted = Wanted()
    model = draw(st.sampled_from(MODELS))
    schema = Maker(draw, wanted).schema(model)
    names = sorted(inspect(model).relationships.keys())
    relationship = draw(st.sampled_from(names)) if names else None
    form = draw(st.sampled_from(FORMS))
    if relationship is not None and form is not FORMS[0]:
        wanted.relate(inspect(model).relationships[relationship])
    whole = draw(st.sampled_from(WHOLE))
    asked = draw(st.sampled_from(ASKED))
    if asked in ("lines", "array") or relationship in dict(schema.loads):
        # SQLAlchemy does not stream what is joined, and refuses two options for one relationship.
        form = with_option if form is with_joined_option else form
    if relationship in schema.recursive and form is with_option:
        form = FORMS[0]
    return Example(schema, whole, form, relationship, draw(rows(wanted, database)), asked)
