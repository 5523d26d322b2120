"""The tests: each writes the same unique name, so that each fails if the other's row is there."""

import asyncio

from shop.main import Item, database
from sqlalchemy import select, text


async def write_with_client(asyncdb_client):
    assert (await asyncdb_client.get("/items")).json() == []
    assert (await asyncdb_client.post("/items/tea")).status_code == 201
    assert (await asyncdb_client.get("/items")).json() == ["tea"]


async def write_with_session(asyncdb_queries, asyncdb_session, asyncdb_client):
    asyncdb_session.add(Item(name="tea"))
    await asyncdb_session.commit()
    assert (await asyncdb_client.get("/items")).json() == ["tea"]
    assert len(asyncdb_queries) == 1  # the application's, and not this session's


async def write_with_handle(asyncdb_session):
    async with database.session() as session:
        session.add(Item(name="tea"))
    assert list(await asyncdb_session.scalars(select(Item.name))) == ["tea"]


async def run_on_the_loop_of_the_test(asyncdb_database):
    assert asyncdb_database is database
    async with asyncio.timeout(5), database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


TESTS = [
    write_with_client,
    write_with_session,
    write_with_handle,
    run_on_the_loop_of_the_test,
    write_with_client,
]
