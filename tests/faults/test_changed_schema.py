"""A table changes while the application runs, and the driver's plans are out of date."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute
from tests.support.application import client
from tests.support.cancelling import Witness

pytestmark = pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")

# psycopg keeps the plan of a statement that it has sent more often than this.
OFTEN = 7
EVERYTHING = "SELECT * FROM thing"
RETURNING = "INSERT INTO thing (id) VALUES (:id) ON CONFLICT (id) DO UPDATE SET n = 2 RETURNING *"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A handle with one connection, and a table to change."""
    settings = DatabaseSettings(url=database_url, pool_size=1, max_overflow=0)
    async with Database(settings) as database:
        async with database.session() as session:
            await session.execute(text("CREATE TABLE thing (id int PRIMARY KEY, n int)"))
            await session.execute(text("INSERT INTO thing VALUES (1, 1)"))
        yield database


@pytest.fixture(params=["ALTER COLUMN n TYPE text", "ADD COLUMN m int"])
def change(request: pytest.FixtureRequest, witness: Witness) -> Callable[[], Awaitable[Any]]:
    """Change the table as a migration does: in another process, without a notice."""

    async def change() -> None:
        await witness.ask(f"ALTER TABLE thing {request.param}")

    return change


async def read_with_session(database: Database) -> int:
    """Read as ``ReadDB`` does."""
    async with database.read_session() as session:
        return len((await session.execute(text(EVERYTHING))).all())


async def stream_with_session(database: Database) -> int:
    """Stream in autocommit, which is a snapshot while the stream is open."""
    async with database.read_session() as session:
        return len([row async for row in await session.stream(text(EVERYTHING))])


async def read_with_engine(database: Database) -> int:
    """Read with the engine itself, and a statement that has no parameters for the driver."""
    async with database.read_engine.connect() as connection:
        return len((await connection.exec_driver_sql(EVERYTHING)).all())


async def read_without_parameters(database: Database) -> int:
    """Tell the driver that there are none."""
    async with database.read_engine.connect() as connection:
        await connection.execution_options(no_parameters=True)
        return len((await connection.exec_driver_sql(EVERYTHING)).all())


async def write_many(database: Database) -> int:
    """Send one statement with several parameters, in autocommit."""
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(text(RETURNING), [{"id": 1}, {"id": 1}])
        return 1


@pytest.mark.parametrize(
    "work",
    [
        read_with_session,
        stream_with_session,
        read_with_engine,
        read_without_parameters,
        write_many,
    ],
)
async def test_changed_table_costs_no_error_in_autocommit(
    database: Database,
    change: Callable[[], Awaitable[None]],
    work: Callable[[Database], Awaitable[int]],
):
    """The statement has not run, and nothing else is lost: it is sent once more."""
    for _ in range(OFTEN):
        await work(database)
    await change()
    assert [await work(database) for _ in range(OFTEN)] == [1] * OFTEN


async def test_rows_have_the_columns_of_the_changed_table(database: Database, witness: Witness):
    """What comes back is read by the new plan."""
    async with database.read_session() as session:
        for _ in range(OFTEN):
            await session.execute(text(EVERYTHING))
        await witness.ask("ALTER TABLE thing ADD COLUMN m int DEFAULT 3")
        (row,) = (await session.execute(text(EVERYTHING))).all()
    assert row._mapping == {"id": 1, "n": 1, "m": 3}


REPLACED_ENUM = [
    "CREATE TYPE next_state AS ENUM ('new', 'paid', 'sent')",
    "ALTER TABLE thing ALTER COLUMN state TYPE next_state USING state::text::next_state",
    "DROP TYPE state",
    "ALTER TYPE next_state RENAME TO state",
]


@pytest.mark.parametrize("transactions", [False, True], ids=["autocommit", "transaction"])
async def test_replaced_enum_costs_no_error(
    database: Database, witness: Witness, transactions: bool
):
    """The parameter of a plan has a type that is gone (XX000)."""

    async def read_often(session: AsyncSession) -> int:
        statement = text("SELECT * FROM thing WHERE state = CAST(:state AS state)")
        counts = {
            len((await session.execute(statement, {"state": "new"})).all()) for _ in range(OFTEN)
        }
        (count,) = counts
        return count

    async def read_all() -> int:
        if transactions:
            return await database.run_in_transaction(read_often)
        async with database.read_session() as session:
            return await read_often(session)

    for statement in (
        "CREATE TYPE state AS ENUM ('new', 'paid')",
        "ALTER TABLE thing ADD COLUMN state state DEFAULT 'new'",
        "ALTER TABLE thing ALTER COLUMN state DROP DEFAULT",
    ):
        await witness.ask(statement)
    assert await read_all() == 1
    for statement in REPLACED_ENUM:
        await witness.ask(statement)
    assert await read_all() == 1


async def read(connection: AsyncConnection) -> None:
    """Fetch all rows at once."""
    await connection.execute(text(EVERYTHING))


async def stream(connection: AsyncConnection) -> None:
    """Fetch the rows bit by bit."""
    async with connection.stream(text(EVERYTHING)) as rows:
        async for _ in rows:
            pass


async def test_error_in_a_transaction_says_to_repeat_it(
    database: Database, change: Callable[[], Awaitable[None]]
):
    """The server has ended the transaction; the message says what happened and what to do."""
    await _read_often(database)
    await change()
    with pytest.raises(DBAPIError, match="run the transaction again"):
        await _read_often(database)
    await _read_often(database)


async def test_plans_are_gone_after_a_savepoint(
    database: Database, change: Callable[[], Awaitable[None]]
):
    """A savepoint saves the transaction, which then finds no old plan any more."""
    await _read_often(database)
    await change()
    async with database.session() as session:
        with pytest.raises(DBAPIError):
            async with session.begin_nested():
                await session.execute(text(EVERYTHING))
        assert len((await session.execute(text(EVERYTHING))).all()) == 1


async def _read_often(database: Database) -> None:
    async with database.session() as session:
        for _ in range(OFTEN):
            await session.execute(text(EVERYTHING))


@pytest.mark.parametrize("work", [read, stream])
async def test_run_in_transaction_repeats_it(
    database: Database,
    change: Callable[[], Awaitable[None]],
    work: Callable[[AsyncConnection], Awaitable[None]],
):
    """The whole transaction runs again, with new plans."""
    attempts = 0

    async def often(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await session.execute(text("INSERT INTO thing (id) SELECT max(id) + 1 FROM thing"))
        for _ in range(OFTEN):
            await work(await session.connection())

    await database.run_in_transaction(often)
    attempts = 0
    await change()
    await database.run_in_transaction(often)
    # psycopg keeps no plan of what it streams.
    assert attempts == 2 or (work is stream and database.engine.driver == "psycopg")
    assert await read_with_session(database) == 3


async def test_retry_route_repeats_the_request(
    database: Database, change: Callable[[], Awaitable[None]]
):
    """The client of a request that met the change is answered as always."""
    router = APIRouter(route_class=RetryRoute)

    @router.get("/")
    async def count(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
        counts = {len((await db.execute(text(EVERYTHING))).all()) for _ in range(OFTEN)}
        return counts.pop()

    app = FastAPI()
    app.include_router(router)
    async with client(app) as http:
        assert (await http.get("/")).status_code == 200
        await change()
        assert (await http.get("/")).json() == 1


async def test_other_features_that_are_not_supported_are_not_repeated(database: Database):
    """0A000 is also what PostgreSQL answers to SQL that it does not have."""
    attempts = 0

    async def nonsense(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        await session.execute(text("SELECT * FROM thing FOR UPDATE OF thing SKIP LOCKED"))
        await session.execute(text("SELECT count(*) FROM thing FOR UPDATE"))

    with pytest.raises(DBAPIError) as caught:
        await database.run_in_transaction(nonsense)
    assert getattr(caught.value.orig, "sqlstate", None) == "0A000"
    assert attempts == 1
