"""Fields that are not what they look like: each was once answered otherwise than by FastAPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    Field,
    PlainSerializer,
    computed_field,
    field_serializer,
)
from sqlalchemy import MetaData, insert, select
from sqlalchemy.orm import selectinload
from typing_extensions import TypedDict

from fastapi_asyncdb import Database, Related, answer, rows
from tests.data.answers.fastapi_answer import assert_equal
from tests.data.answers.museum.columns import Style
from tests.data.answers.museum.models import Base, Exhibit, Room, Tag


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


def length(value: str | None) -> int:
    """Return something else than the value."""
    return len(value or "")


class OfOptional(BaseModel):
    name: Annotated[str | None, PlainSerializer(length)]


class OfDefault(BaseModel):
    name: str = "none"

    @field_serializer("name")
    def write(self, value: str) -> int:
        return length(value)


class OfOptionalDefault(BaseModel):
    name: str | None = None

    @field_serializer("name", mode="wrap")
    def write(self, value: str | None, handler: Any) -> list[Any]:
        return [handler(value)]


class OfEnumeration(BaseModel):
    style: Style

    @field_serializer("style")
    def write(self, value: Style) -> int:
        return length(value)


@pytest.mark.parametrize("schema", [OfOptional, OfDefault, OfOptionalDefault])
async def test_serializers_write_fields_that_are_optional(
    database: Database, schema: type[BaseModel]
):
    """Pydantic has them around the type, and not in it."""
    async with database.session() as session:
        await session.execute(insert(Tag), [{"id": 1, "name": "word"}])
        await assert_equal(session, select(Tag), schema)


async def test_serializers_write_enumerations(database: Database):
    """Pydantic has them at a reference to the type, and not in it."""
    async with database.session() as session:
        await session.execute(insert(Tag), [{"id": 1, "name": "word"}])
        await session.execute(insert(Exhibit), [{"id": 1, "first_tag_id": 1}])
        await assert_equal(session, select(Exhibit), OfEnumeration)


class SameAliases(BaseModel):
    first: int = Field(validation_alias=AliasChoices("title", "id"))
    second: str = Field(validation_alias=AliasChoices("title", "name"))


class CheckedAliases(SameAliases):
    third: Annotated[int, Field(ge=0)] = Field(validation_alias=AliasChoices("title", "rank"))


class ComputedAliases(SameAliases):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def both(self) -> str:
        return f"{self.first}{self.second}"


@pytest.mark.parametrize("schema", [SameAliases, CheckedAliases, ComputedAliases])
async def test_fields_may_have_the_same_first_alias(database: Database, schema: type[BaseModel]):
    """Each reads its own attribute."""
    async with database.session() as session:
        await session.execute(insert(Tag), [{"id": 1, "name": "word", "rank": 5}])
        await assert_equal(session, select(Tag), schema)
        [found] = await rows(session, select(Tag), schema)
    assert (found.first, found.second) == (1, "word")  # type: ignore[attr-defined]


def same(value: Any) -> Any:
    """Return the value."""
    return value


class Wrapped(BaseModel):
    id: int
    parent: Annotated[Wrapped, AfterValidator(same)] | None


async def test_a_schema_that_contains_itself_may_be_validated_there(database: Database):
    """A validator around it is no end of it."""
    async with database.session() as session:
        await session.execute(insert(Room), [{"id": 1, "name": "a"}])
        await session.execute(insert(Room), [{"id": 2, "name": "b", "parent_id": 1}])
        loaded = selectinload(Room.parent, recursion_depth=2)
        await assert_equal(session, select(Room).order_by(Room.id), Wrapped, loaded)


class RoomOut(BaseModel):
    id: int


SECOND = Annotated[list[RoomOut], Related(where=lambda room: room.id == 2)]


@dataclass
class RoomData:
    children: SECOND


class RoomDict(TypedDict):
    children: SECOND


@pytest.mark.parametrize("schema", [RoomData, RoomDict])
async def test_related_rows_of_dataclasses_are_narrowed(database: Database, schema: Any):
    """And those of TypedDicts."""
    async with database.session() as session:
        await session.execute(insert(Room), [{"id": 1, "name": "a"}])
        await session.execute(
            insert(Room), [{"id": each, "name": "b", "parent_id": 1} for each in (2, 3)]
        )
        response = await answer(session, select(Room).where(Room.id == 1), schema)
    assert bytes(response.body) == b'{"children":[{"id":2}]}'
