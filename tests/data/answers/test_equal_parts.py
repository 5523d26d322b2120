"""Related rows of which a schema has a part: the same from objects as from the database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi.exceptions import ResponseValidationError
from pydantic import BaseModel, Field
from sqlalchemy import MetaData, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from fastapi_asyncdb import Database, Related, answer
from fastapi_asyncdb.errors import ConfigurationError
from tests.data.answers.museum.models import (
    Base,
    Exhibit,
    Painting,
    Room,
    Tag,
    exhibit_tag,
    similar,
)


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


async def fill(session: AsyncSession) -> None:
    """Insert a room with three others in it, an exhibit with three tags, and a painting."""
    await session.execute(insert(Room), [{"id": 1, "name": "hall"}])
    rooms = [{"id": each, "name": "room", "parent_id": 1} for each in (2, 3, 4)]
    await session.execute(insert(Room), rooms)
    await session.execute(insert(Tag), [{"id": each, "name": "tag"} for each in (1, 2, 3)])
    exhibits = [{"id": each, "room_id": 2, "first_tag_id": 1} for each in (1, 2)]
    await session.execute(insert(Exhibit), exhibits)
    tags = [{"exhibit_id": 1, "tag_id": each, "rank": each} for each in (1, 2, 3)]
    await session.execute(insert(exhibit_tag), tags)
    session.add(Painting(id=1, kind="painting", title="a", room_id=2, colors=3))
    await session.flush()
    session.expunge_all()


class Id(BaseModel):
    id: int


class Plain(BaseModel):
    """Its JSON may be built by the database."""


class Checked(BaseModel):
    """Pydantic validates objects."""

    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


async def sent(session: AsyncSession, statement: Any, schema: Any) -> bytes:
    """Return the body of an answer."""
    return bytes((await answer(session, statement, schema)).body)


@pytest.mark.parametrize("base", [Plain, Checked])
async def test_an_object_may_have_two_parts(database: Database, base: type[BaseModel]):
    """In two places of a schema, each of which has its own."""

    class Small(base):  # type: ignore[misc, valid-type]
        children: Annotated[list[Id], Related(where=lambda room: room.id == 4)]

    class Child(base):  # type: ignore[misc, valid-type]
        parent: Small

    class Whole(base):  # type: ignore[misc, valid-type]
        children: Annotated[list[Child], Related(where=lambda room: room.id == 2)]

    async with database.session() as session:
        await fill(session)
        found = await sent(session, select(Room).where(Room.id == 1), Whole)
    assert found == b'{"children":[{"parent":{"children":[{"id":4}]}}]}'


@pytest.mark.parametrize("base", [Plain, Checked])
async def test_an_object_is_read_again_below(database: Database, base: type[BaseModel]):
    """As another class of its hierarchy, with fewer columns."""

    class PieceOut(base):  # type: ignore[misc, valid-type]
        id: int

    class RoomOut(base):  # type: ignore[misc, valid-type]
        pieces: list[PieceOut]

    class PaintingOut(base):  # type: ignore[misc, valid-type]
        colors: int
        room: Annotated[RoomOut | None, Related(where=lambda room: room.id == 2)]

    async with database.session() as session:
        await fill(session)
        found = await sent(session, select(Painting), PaintingOut)
    assert found == b'{"colors":3,"room":{"pieces":[{"id":1}]}}'


@dataclass
class Narrow:
    parent: Annotated[Id | None, Related(where=lambda room: room.id > 1)]


async def test_a_part_of_a_dataclass_is_not_loaded(database: Database):
    """Of objects, which a statement with DISTINCT has."""
    statement = select(Room).where(Room.id == 2).distinct()
    async with database.session() as session:
        await fill(session)
        assert await sent(session, statement, Narrow) == b'{"parent":null}'


@pytest.mark.parametrize("base", [Plain, Checked])
async def test_the_part_is_not_what_the_statement_loads(database: Database, base: type[BaseModel]):
    """Its loader option says when related objects are loaded, and not which the schema has."""

    class Out(base):  # type: ignore[misc, valid-type]
        tags: Annotated[list[Id], Related(where=lambda tag: tag.id > 2)]

    statement = select(Exhibit).where(Exhibit.id == 1).options(selectinload(Exhibit.tags))
    async with database.session() as session:
        await fill(session)
        assert await sent(session, statement, Out) == b'{"tags":[{"id":3}]}'


@pytest.mark.parametrize("base", [Plain, Checked])
async def test_the_part_has_the_order_of_the_relationship(
    database: Database, base: type[BaseModel]
):
    """Of a column of the table between."""

    class Out(base):  # type: ignore[misc, valid-type]
        ranked_tags: Annotated[list[Id], Related(where=lambda tag: tag.id > 1)]

    async with database.session() as session:
        await fill(session)
        await session.execute(update(exhibit_tag).values(rank=-exhibit_tag.c.tag_id))
        found = await sent(session, select(Exhibit).where(Exhibit.id == 1), Out)
    assert found == b'{"ranked_tags":[{"id":3},{"id":2}]}'


@pytest.mark.parametrize("base", [Plain, Checked])
async def test_collections_of_other_types_have_parts(database: Database, base: type[BaseModel]):
    """A dictionary, and a set."""

    class Out(base):  # type: ignore[misc, valid-type]
        by_id: Annotated[dict[int, Id], Related(where=lambda each: each.id == 2)] = Field(
            validation_alias="exhibits_by_id"
        )
        exhibit_set: Annotated[list[Id], Related(where=lambda each: each.id == 1)]

    async with database.session() as session:
        await fill(session)
        found = await sent(session, select(Room).where(Room.id == 2), Out)
    assert found == b'{"by_id":{"2":{"id":2}},"exhibit_set":[{"id":1}]}'


async def test_one_relationship_in_two_fields_is_refused(database: Database):
    """Pydantic reads both from the same attribute."""

    class Out(Checked):
        one: Annotated[list[Id], Related(where=lambda tag: tag.id == 1)] = Field(
            validation_alias="tags"
        )
        tags: list[Id]

    async with database.session() as session:
        with pytest.raises(ConfigurationError, match="one and tags of Out read the same relat"):
            await answer(session, select(Exhibit), list[Out])


class Circle(BaseModel):
    id: int
    children: list[Circle]
    parent: Annotated[Circle | None, Related(where=lambda room: room.id < 3)]


@dataclass
class CircleData:
    id: int
    similar: list[CircleData]


async def test_a_circle_of_objects_with_parts_is_an_error(database: Database):
    """Pydantic sees the same object again."""
    async with database.session() as session:
        await fill(session)
        with pytest.raises(ResponseValidationError, match="recursion_loop"):
            await answer(session, select(Room).order_by(Room.id), list[Circle])


async def test_a_circle_of_dataclasses_is_an_error(database: Database):
    """Each is similar to each."""
    pairs = [{"one_id": one, "other_id": other} for one in (1, 2) for other in (1, 2)]
    async with database.session() as session:
        await fill(session)
        await session.execute(insert(similar), pairs)
        with pytest.raises(ResponseValidationError, match="recursion_loop"):
            await answer(session, select(Exhibit), list[CircleData])
