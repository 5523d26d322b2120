"""Answers of SQLModel's tables, in schemas that are SQLModel's too."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import MetaData
from sqlalchemy.orm import registry, selectinload
from sqlmodel import Field, Relationship, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from fastapi_asyncdb import (
    Answer,
    Database,
    DatabaseSettings,
    Page,
    PageQuery,
    answer,
    rows,
)
from fastapi_asyncdb.dialects import json_of
from tests.support.application import running


class Model(SQLModel, registry=registry()):
    """Its tables have a registry of their own."""


class Team(Model, table=True):
    __tablename__ = "answered_team"  # pyright: ignore[reportAssignmentType]
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True, max_length=50)
    heroes: list["Hero"] = Relationship(back_populates="team")


class HeroBase(Model):
    name: str = Field(index=True)
    age: int | None = None


class Hero(HeroBase, table=True):
    __tablename__ = "answered_hero"  # pyright: ignore[reportAssignmentType]
    id: int | None = Field(default=None, primary_key=True)
    secret_name: str = "secret"
    made_at: datetime = Field(default_factory=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    team_id: int | None = Field(default=None, foreign_key="answered_team.id")
    team: Team | None = Relationship(back_populates="heroes")


class TeamPublic(SQLModel):
    id: int
    name: str


class HeroPublic(HeroBase):
    id: int
    made_at: datetime


class HeroWithTeam(HeroPublic):
    team: TeamPublic | None = None


class Limited(SQLModel):
    name: str = Field(max_length=20)


IN_ORDER = select(Hero).order_by(col(Hero.id))
HERO = {"name": "Tarantula", "age": None, "id": 1, "made_at": "2026-01-02T03:04:05Z"}
TEAM = {"id": 1, "name": "Preventers"}


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Model.metadata


@pytest.fixture
async def database(
    database_url: str, missing_tables: MetaData | None
) -> AsyncIterator[Database[AsyncSession]]:
    """A handle with SQLModel's session, a team, and a hero in it."""
    settings = DatabaseSettings(url=database_url)
    database = Database(settings, session_class=AsyncSession)
    await database.start(create_tables=missing_tables)
    async with database, database.session() as session:
        session.add(Team(id=1, name="Preventers", heroes=[Hero(id=1, name="Tarantula")]))
        await session.commit()
        yield database


async def test_schemas_of_sqlmodel(database: Database[AsyncSession]):
    """What SQLModel's own ``__init__`` does is Pydantic's validation."""
    by_database = json_of(database.engine.dialect) is not None
    for schema in (HeroPublic, HeroWithTeam):
        told = answer.explain(schema, Hero, database=database)
        assert told.endswith("the database builds the JSON.") == by_database, told
    async with database.read_session() as session:
        for statement, schema, expected in _CASES:
            response = await answer(session, statement, schema)
            assert json.loads(bytes(response.body)) == expected
        [hero] = await rows(session, IN_ORDER, HeroWithTeam)
        assert hero.team == TeamPublic(id=1, name="Preventers")


_CASES: list[tuple[Any, Any, Any]] = [
    (IN_ORDER, list[HeroPublic], [HERO]),
    (IN_ORDER, HeroWithTeam, HERO | {"team": TEAM}),
    (IN_ORDER, Limited, {"name": "Tarantula"}),
    (IN_ORDER, Hero, HERO | {"secret_name": "secret", "team_id": 1}),
    (select(Team), TeamPublic, TEAM),
    (select(Hero.name), list[str], ["Tarantula"]),
]


async def test_answers_are_those_of_fastapi(database: Database[AsyncSession]):
    """The same body and the same OpenAPI as a route with a response model."""
    app = FastAPI(lifespan=database.lifespan)
    read_db = Annotated[AsyncSession, Depends(database.get_read_db)]

    @app.get("/slow", response_model=list[HeroWithTeam])
    async def heroes(db: read_db) -> Sequence[Hero]:
        return (await db.exec(IN_ORDER.options(selectinload(Hero.team)))).all()  # type: ignore[arg-type]

    @app.get("/fast")
    async def heroes_again(db: read_db) -> Answer[list[HeroWithTeam]]:
        return await answer(db, IN_ORDER, list[HeroWithTeam])

    @app.get("/page")
    async def page(db: read_db, query: Annotated[PageQuery, Depends()]) -> Answer[Page[HeroPublic]]:
        return await answer(db, IN_ORDER, Page[HeroPublic], page=query)

    async with running(app) as client:
        slow, fast = await client.get("/slow"), await client.get("/fast")
        assert fast.json() == slow.json() == [HERO | {"team": TEAM}]
        assert (await client.get("/page")).json()["items"] == [HERO]
    paths = app.openapi()["paths"]
    schemas = [
        paths[path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]["items"]
        for path in ("/slow", "/fast")
    ]
    assert schemas[0] == schemas[1] == {"$ref": "#/components/schemas/HeroWithTeam"}
