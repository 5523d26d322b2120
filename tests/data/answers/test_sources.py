"""What an answer is made of, besides mapped classes and models; and the arguments it refuses."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, RootModel, computed_field
from pydantic_core import core_schema
from sqlalchemy import ForeignKey, MetaData, func, insert, select, text, union_all, update
from sqlalchemy.exc import MultipleResultsFound
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column, relationship
from typing_extensions import TypedDict

from fastapi_asyncdb import (
    CursorPage,
    CursorQuery,
    Database,
    Page,
    PageQuery,
    Related,
    answer,
    rows,
)
from fastapi_asyncdb.data.answers.plan import plan_of
from fastapi_asyncdb.errors import ConfigurationError
from tests.support.mysql_types import WORD


class Base(DeclarativeBase):
    type_annotation_map = {str: WORD}  # noqa: RUF012 - SQLAlchemy's own


class Owner(Base):
    __tablename__ = "kennel_owner"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    dogs: Mapped[list[Dog]] = relationship(order_by=lambda: Dog.id)


class Dog(Base):
    __tablename__ = "kennel_dog"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    owner_id: Mapped[int | None] = mapped_column(ForeignKey(Owner.id))
    owner: Mapped[Owner | None] = relationship(overlaps="dogs")


class DogOut(BaseModel):
    id: int
    name: str


@dataclass
class DogValue:
    id: int
    name: str


class DogDict(TypedDict):
    id: int
    name: str


class OwnerDict(TypedDict):
    name: str
    dogs: list[DogDict]


@dataclass
class OwnedDog:
    name: str
    owner: OwnerName | None


class OwnerName(BaseModel):
    name: str


IN_ORDER = select(Dog).order_by(Dog.id)
DOGS = [{"id": 1, "name": "Rex"}, {"id": 2, "name": "Ben"}]


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """A session, and two dogs of which one has an owner."""
    async with database.session() as session:
        session.add(Owner(id=1, name="Ada", dogs=[Dog(id=1, name="Rex")]))
        session.add(Dog(id=2, name="Ben"))
        await session.flush()
        session.expunge_all()
        yield session


async def sent(session: AsyncSession, statement: Any, schema: Any, **options: Any) -> Any:
    """Return what a client reads."""
    response = await answer(session, statement, schema, **options)
    return json.loads(bytes(response.body))


@pytest.mark.parametrize("schema", [DogOut, DogValue, DogDict])
@pytest.mark.parametrize(
    "statement",
    [
        IN_ORDER,
        select(Dog.id, Dog.name).order_by(Dog.id),
        select(aliased(Dog, IN_ORDER.limit(5).subquery())),
        select(Dog).distinct().order_by(Dog.id),
        text("SELECT id, name FROM kennel_dog ORDER BY id"),
        union_all(select(Dog.id, Dog.name)),
    ],
    ids=["class", "columns", "alias", "distinct", "text", "union"],
)
async def test_each_kind_of_schema_is_read_from_each_kind_of_statement(
    session: AsyncSession, statement: Any, schema: Any
):
    """Pydantic reads dataclasses and TypedDicts from mappings alone, which rows and objects are not."""
    assert await sent(session, statement, list[schema]) == DOGS
    found = await rows(session, statement, schema)
    assert [
        DogOut.model_validate(each, from_attributes=True).model_dump() for each in found
    ] == DOGS


@pytest.mark.parametrize("statement", [IN_ORDER, select(Dog.id, Dog.name).order_by(Dog.id)])
@pytest.mark.parametrize("schema", [DogOut, DogValue, DogDict])
async def test_pages_and_streams_have_each_kind_of_schema(
    session: AsyncSession, statement: Any, schema: Any
):
    """As lists do."""
    page = await sent(session, statement, Page[schema], page=PageQuery(limit=1))
    assert (page["items"], page["total"]) == (DOGS[:1], 2)
    step = await sent(session, statement, CursorPage[schema], page=CursorQuery())
    assert step["items"] == DOGS
    response = await answer.stream(session, statement, schema)
    lines = "".join([str(each) async for each in response.body_iterator])
    assert [json.loads(line) for line in lines.splitlines()] == DOGS


async def test_relationships_of_dataclasses_and_mappings(session: AsyncSession):
    """To many and to one, whose row may be missing; also where objects are loaded for them."""
    for statement in (select(Owner), select(Owner).distinct()):
        assert await sent(session, statement, OwnerDict) == {"name": "Ada", "dogs": DOGS[:1]}
        assert await rows(session, statement, OwnerDict) == [{"name": "Ada", "dogs": DOGS[:1]}]
    for dogs in (IN_ORDER, IN_ORDER.distinct()):
        rex, ben = await rows(session, dogs, OwnedDog)
        assert (rex, ben) == (OwnedDog("Rex", OwnerName(name="Ada")), OwnedDog("Ben", None))


@pytest.mark.usefixtures("_builds_json")
async def test_a_plain_dataclass_is_built_by_the_database(database: Database):
    """Nothing of it needs Pydantic."""
    assert answer.explain(DogValue, Dog, database=database).endswith(
        "the database builds the JSON."
    )


@dataclass
class Later:
    """A dataclass whose fields are no arguments, or no attributes."""

    id: int
    name: str = field(default="none", init=False)


@dataclass
class Marked:
    id: int
    name: InitVar[str] = ""


@dataclass
class Shouting:
    name: str

    def __post_init__(self) -> None:
        """Change what was given."""
        self.name = self.name.upper()


async def test_dataclasses_keep_what_their_init_does(session: AsyncSession):
    """What is not read from the row, what is not written, and what is changed."""
    assert await sent(session, IN_ORDER.limit(1), Later) == {"id": 1, "name": "none"}
    assert await sent(session, IN_ORDER.limit(1), Marked) == {"id": 1}
    assert await sent(session, IN_ORDER.limit(1), Shouting) == {"name": "REX"}


async def test_one_column_is_its_value(session: AsyncSession):
    """Where the schema has no fields."""
    ids = select(Dog.id).order_by(Dog.id)
    assert await sent(session, ids, list[int]) == [1, 2]
    assert await sent(session, ids, list[RootModel[int]]) == [1, 2]
    assert await sent(session, ids, Page[int], page=PageQuery(limit=1)) == {
        "items": [1], "total": 2, "offset": 0, "limit": 1, "has_more": True,
    }  # fmt: skip
    assert await sent(session, select(func.count()).select_from(Dog), int) == 2
    assert await rows(session, ids, int) == [1, 2]
    response = await answer.stream(session, ids, int, format="json")
    assert "".join([str(each) async for each in response.body_iterator]) == "[1,2]"
    names = select(Dog.name).order_by(Dog.id)
    assert await sent(session, names, list[OwnerName]) == [{"name": "Rex"}, {"name": "Ben"}]


class Counted(OwnerName):
    """A schema that Pydantic writes."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def length(self) -> int:
        """Of the name."""
        return len(self.name)


async def test_explanation_names_what_the_database_cannot_do(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """And the log has it, once."""
    plan_of.cache_clear()
    with caplog.at_level(logging.DEBUG, "fastapi_asyncdb.data.answers.plan"):
        told = [answer.explain(Counted, Dog, database=database) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0].startswith("Counted from Dog: Pydantic validates rows without objects, since ")
    assert [record.getMessage() for record in caplog.records].count(told[0]) == 1


class Misplaced(BaseModel):
    name: Annotated[str, Related(limit=1)]


SIGNATURE = "query: Annotated[PageQuery, Depends()]"


@pytest.mark.parametrize(
    ("statement", "schema", "options", "words"),
    [
        (IN_ORDER, Page[DogOut], {}, ["Page[DogOut] is a page", SIGNATURE]),
        (IN_ORDER, CursorPage[DogOut], {}, ["CursorPage[DogOut] is a page", "CursorQuery"]),
        (IN_ORDER, list[DogOut], {"page": PageQuery()}, ["is a PageQuery", "list["]),
        (
            IN_ORDER,
            CursorPage[DogOut],
            {"page": PageQuery()},
            ["is a PageQuery", "CursorPage[DogOut]"],
        ),
        (
            insert(Base.metadata.tables["kennel_dog"]).values(name="x"),
            DogOut,
            {},
            ["'kennel_dog'", "insert(Post)"],
        ),
        (
            update(Dog).values(name="x").returning(Dog.id),
            DogOut,
            {},
            ["returning()", "leave it out"],
        ),
        (select(Owner), list[OwnedDog], {}, ["Owner has no attribute 'owner'", "OwnedDog"]),
        (IN_ORDER, Page, {"page": PageQuery()}, ["Page is no schema alone", "Page[PostOut]"]),
        (IN_ORDER, list, {}, ["list[PostOut]"]),
        (IN_ORDER, Misplaced, {}, ["Misplaced.name has a Related", "no relationship"]),
    ],
    ids=[
        *("page", "cursor", "list", "other page", "table", "returning", "other model"),
        *("bare page", "bare list", "related column"),
    ],
)
async def test_contradictory_arguments_are_refused(
    session: AsyncSession, statement: Any, schema: Any, options: Any, words: list[str]
):
    """The message has the fact and the next step, and no addresses of objects."""
    with pytest.raises(ConfigurationError) as error:
        await answer(session, statement, schema, **options)
    for each in words:
        assert each in str(error.value)
    assert "<class" not in str(error.value)
    assert " at 0x" not in str(error.value)


async def test_streams_refuse_what_is_no_row_before_they_read(session: AsyncSession):
    """A page, an optional row, a write, and an unknown format, which would leave a cursor open."""
    options: Any = {"format": "csv"}
    none: Any = {"batch_size": 0}
    write: Any = insert(Dog).values(name="x")
    for statement, schema, more, words in (
        (IN_ORDER, Page[DogOut], {}, "it is a page"),
        (IN_ORDER, DogOut | None, {}, "it is optional"),
        (IN_ORDER, DogOut, options, "format='csv'"),
        (write, DogOut, {}, "writes"),
        (IN_ORDER, DogOut, none, "batch_size=0"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            await answer.stream(session, statement, schema, **more)


async def test_values_refuse_the_schema_of_a_list(session: AsyncSession):
    """The schema is that of a row."""
    with pytest.raises(ConfigurationError, match="returns a list"):
        await rows(session, IN_ORDER, list[DogOut])
    with pytest.raises(ConfigurationError, match="or a page"):
        await rows(session, IN_ORDER, Page[DogOut])


async def test_schemas_that_are_none_of_a_row(session: AsyncSession):
    """The message says what to write; values of one column may be any."""
    for schema, words in (
        (Dog, "Dog is a mapped class"),
        (list[Dog], "Dog is a mapped class"),
        (set[DogOut], r"For all rows pass list\[DogOut\]"),
        (list[DogOut] | None, r"For all rows pass list\[DogOut\], with nothing around"),
        (tuple[DogOut, ...], r"For all rows pass list\[DogOut\]"),
        (Sequence[DogOut], r"For all rows pass list\[DogOut\]"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            await answer(session, IN_ORDER, schema)
    names = select(Dog.name).order_by(Dog.id)
    response = await answer(session, names, list[str | set[str]])
    assert response.status_code == 200


class Chip(Base):
    """A mapped class that tells Pydantic what it is."""

    __tablename__ = "kennel_chip"
    id: Mapped[int] = mapped_column(primary_key=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Return the schema of its number."""
        return core_schema.no_info_plain_validator_function(lambda chip: chip.id)


async def test_mapped_class_that_is_a_schema(session: AsyncSession):
    """Pydantic decides what is one."""
    session.add(Chip(id=7))
    response = await answer(session, select(Chip), list[Chip])
    assert bytes(response.body) == b"[7]"


def test_restrictions_that_cannot_work_are_refused():
    """When the schema is defined."""
    with pytest.raises(ConfigurationError, match="limit=-1"):
        Related(limit=-1)
    clause: Any = Dog.id > 1
    for arguments in ({"where": clause}, {"order_by": clause}):
        with pytest.raises(ConfigurationError, match="is no function"):
            Related(**arguments)


async def test_several_rows_for_one_are_counted(session: AsyncSession):
    """The message says what to write."""
    with pytest.raises(MultipleResultsFound, match=r"2 rows, .* list\[DogOut\]"):
        await answer(session, IN_ORDER, DogOut)
