"""What objects need of their relationships, and of deferred columns, is loaded with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi.exceptions import ResponseValidationError
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasPath,
    BaseModel,
    BeforeValidator,
    Field,
    RootModel,
    computed_field,
    model_validator,
)
from sqlalchemy import MetaData, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload, undefer

from fastapi_asyncdb import CursorPage, CursorQuery, Database, Page, PageQuery, answer
from tests.data.answers.fastapi_answer import assert_equal
from tests.data.answers.museum.models import Base, Exhibit, Room, Tag, Visit, Visitor, exhibit_tag


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


async def fill(session: AsyncSession) -> None:
    """Insert two rooms in each other, an exhibit with two tags, and a visit."""
    await session.execute(insert(Room), [{"id": 1, "name": "hall", "hidden": "yes"}])
    await session.execute(insert(Room), [{"id": 2, "name": "corner", "parent_id": 1}])
    await session.execute(insert(Tag), [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
    await session.execute(
        insert(Exhibit), [{"id": 1, "room_id": 2, "first_tag_id": 1, "document": {"id": 5}}]
    )
    await session.execute(
        insert(exhibit_tag),
        [{"exhibit_id": 1, "tag_id": 1, "rank": 2}, {"exhibit_id": 1, "tag_id": 2, "rank": 1}],
    )
    await session.execute(insert(Visitor), [{"id": 1, "kind": "visitor", "name": "Ada"}])
    await session.execute(insert(Visit), [{"visitor_id": 1, "room_id": 1}])


class TagOut(BaseModel):
    id: int
    name: str


@dataclass
class TagData:
    id: int


def keys(value: list[Any]) -> list[int]:
    """Return the keys of objects."""
    return [each.id for each in value]


class InTuple(BaseModel):
    tags: tuple[TagOut, ...]


class InSequence(BaseModel):
    tags: Sequence[TagOut]


class InOptionalList(BaseModel):
    tags: list[TagOut] | None = None


class Unioned(BaseModel):
    tags: list[TagOut | int]


class Validated(BaseModel):
    tags: Annotated[list[TagOut], AfterValidator(lambda tags: tags[:1])]


class Keys(BaseModel):
    tags: Annotated[list[int], BeforeValidator(keys)]


class OfProxy(BaseModel):
    tag_names: list[str]


class Root(RootModel[InTuple]):
    pass


class RootInside(BaseModel):
    tags: RootModel[list[TagOut]]


@pytest.mark.parametrize(
    "schema",
    [InTuple, InSequence, InOptionalList, Unioned, Validated, Keys, OfProxy, Root, RootInside],
)
async def test_relationships_are_loaded_for_each_type(database: Database, schema: type[BaseModel]):
    """Not for a list of a schema alone."""
    async with database.session() as session:
        await fill(session)
        await assert_equal(session, select(Exhibit), schema, selectinload(Exhibit.tags))


async def test_a_proxy_of_related_objects_is_loaded(database: Database):
    """Two relationships lead to them."""

    class VisitorOut(BaseModel):
        rooms: Annotated[list[int], BeforeValidator(list), BeforeValidator(keys)]

    async with database.session() as session:
        await fill(session)
        loaded = selectinload(Visitor.visits).selectinload(Visit.room)
        await assert_equal(session, select(Visitor), VisitorOut, loaded)


async def test_the_schemas_of_a_union_are_loaded(database: Database):
    """A schema without fields of its own."""

    class RoomOut(BaseModel):
        floor: int
        exhibits: list[TagOut]

    async with database.session() as session:
        await fill(session)
        union: Any = RoomOut | InTuple
        await assert_equal(session, select(Exhibit), union, selectinload(Exhibit.tags))


async def test_deferred_columns_are_loaded(database: Database):
    """Where an object is validated."""

    class HiddenOut(BaseModel):
        hidden: str | None

        @computed_field  # type: ignore[prop-decorator]
        @property
        def length(self) -> int:
            return len(self.hidden or "")

    class ParentOut(BaseModel):
        parent: HiddenOut | None
        hidden: str | None

    async with database.session() as session:
        await fill(session)
        options = undefer(Room.hidden), selectinload(Room.parent).undefer(Room.hidden)
        await assert_equal(session, select(Room).order_by(Room.id), ParentOut, *options)


async def test_paths_are_read_from_objects(database: Database):
    """The first attribute may have nothing under the path; then the next one counts."""

    class ByPath(BaseModel):
        first: str = Field(
            validation_alias=AliasChoices(AliasPath("tag_names", 7), AliasPath("tags", 1, "name"))
        )
        second: int = Field(validation_alias=AliasChoices(AliasPath("document", "id"), "id"))

    async with database.session() as session:
        await fill(session)
        await assert_equal(session, select(Exhibit), ByPath, selectinload(Exhibit.tags))


class Up(BaseModel):
    id: int
    parent: Up | None


async def test_a_circle_of_objects_is_an_error(database: Database):
    """Loading them ends."""
    async with database.session() as session:
        await fill(session)
        await assert_equal(
            session,
            select(Room).order_by(Room.id),
            Up,
            selectinload(Room.parent, recursion_depth=3),
        )
        await session.execute(update(Room).where(Room.id == 1).values(parent_id=2))
        with pytest.raises(ResponseValidationError, match="recursion_loop"):
            await answer(session, select(Room), list[Up])


@dataclass
class ExhibitData:
    document: TagData
    tags: tuple[TagData, ...]


async def test_mappings_are_made_of_objects_only(database: Database):
    """JSON has its own."""
    async with database.session() as session:
        await fill(session)
        response = await answer(session, select(Exhibit), list[ExhibitData])
    assert bytes(response.body) == b'[{"document":{"id":5},"tags":[{"id":1},{"id":2}]}]'


def objects_only(data: Any) -> Any:
    """Refuse a mapping."""
    assert not isinstance(data, dict)
    return data


async def test_a_validator_gets_an_object_where_a_dataclass_is_inside(database: Database):
    """What Pydantic reads by attributes is no mapping for the sake of what is in it."""

    class Checked(BaseModel):
        tags: list[TagData]

        _check = model_validator(mode="before")(objects_only)

    async with database.session() as session:
        await fill(session)
        for schema in (Checked, RootModel[Checked]):
            response = await answer(session, select(Exhibit), list[schema])  # type: ignore[valid-type]
            assert bytes(response.body) == b'[{"tags":[{"id":1},{"id":2}]}]'


class NumberOut(BaseModel):
    number: Annotated[int, Field(ge=0)]


async def test_a_page_of_one_column_is_answered(database: Database):
    """Pydantic validates it."""
    async with database.session() as session:
        await fill(session)
        pages: list[tuple[Any, Any]] = [(Page, PageQuery()), (CursorPage, CursorQuery())]
        for schema, query in pages:
            response = await answer(session, select(Exhibit), schema[NumberOut], page=query)
            assert bytes(response.body).startswith(b'{"items":[{"number":7}]')


async def test_an_optional_union_is_one_row_or_none(database: Database):
    """``A | B | None`` is ``(A | B) | None``."""
    schema: Any = TagOut | InTuple | None
    async with database.session() as session:
        await fill(session)
        response = await answer(session, select(Exhibit).where(Exhibit.id == 1), schema)
        assert bytes(response.body).startswith(b'{"tags":[{"id":1,')
        response = await answer(session, select(Exhibit).where(Exhibit.id == 2), schema)
        assert bytes(response.body) == b"null"
