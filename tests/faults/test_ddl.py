"""A rolling migration under load: step after step changes the tables, and no request fails."""

import asyncio
import enum
from collections.abc import AsyncIterator
from itertools import count
from typing import Annotated, Any

import asyncpg
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from sqlalchemy import Enum, String, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute
from tests.support.application import client, eventually
from tests.support.databases import POSTGRESQL as POSTGRESQL_DRIVERS
from tests.support.databases import SERVERS, execute

pytestmark = [pytest.mark.databases(*SERVERS), pytest.mark.promise("T20")]


class Base(DeclarativeBase):
    pass


class State(enum.Enum):
    new = "new"
    paid = "paid"


class Order(Base):
    """The columns that the application knows; the migration adds another."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str] = mapped_column(String(100))
    amount: Mapped[int]
    state: Mapped[State] = mapped_column(Enum(State, name="state"))


POSTGRESQL = {
    "add a column": ["ALTER TABLE orders ADD COLUMN note text"],
    "add an index": ["CREATE INDEX CONCURRENTLY by_state ON orders (state, amount)"],
    "change a type": ["ALTER TABLE orders ALTER COLUMN amount TYPE bigint"],
    "change a type to one of another kind": [
        "ALTER TABLE orders ALTER COLUMN item TYPE varchar(50)",
        "ALTER TABLE orders ALTER COLUMN note TYPE json USING to_json(note)",
    ],
    "add a value to an enum": ["ALTER TYPE state ADD VALUE 'sent'"],
    "replace an enum": [
        "CREATE TYPE next_state AS ENUM ('new', 'paid', 'returned')",
        "ALTER TABLE orders ALTER COLUMN state TYPE next_state USING state::text::next_state;"
        "DROP TYPE state; ALTER TYPE next_state RENAME TO state",
    ],
    "rename a column, and keep its old name in a view": [
        "ALTER TABLE orders RENAME TO purchase; ALTER TABLE purchase RENAME COLUMN item TO article;"
        "CREATE VIEW orders AS SELECT id, article AS item, amount, state, note FROM purchase"
    ],
    "drop a column": [
        "DROP VIEW orders; ALTER TABLE purchase DROP COLUMN note;"
        "CREATE VIEW orders AS SELECT id, article AS item, amount, state FROM purchase"
    ],
}
MYSQL = {
    "add a column": ["ALTER TABLE orders ADD COLUMN note text FIRST"],
    "add an index": ["CREATE INDEX by_state ON orders (state, amount)"],
    "change a type": ["ALTER TABLE orders MODIFY amount bigint NOT NULL"],
    "change a type to one of another kind": [
        "ALTER TABLE orders MODIFY item varchar(50) NOT NULL, MODIFY note json"
    ],
    "add a value to an enum": [
        "ALTER TABLE orders MODIFY state enum('new', 'paid', 'sent') NOT NULL"
    ],
    "copy the table": ["ALTER TABLE orders FORCE, ALGORITHM=COPY"],
    "drop a column": ["ALTER TABLE orders DROP COLUMN note"],
}
MIGRATIONS = {"postgresql": POSTGRESQL, "mysql": MYSQL}


def application(database: Database) -> FastAPI:
    """Return an application that reads in autocommit, and writes in transactions that are repeated."""
    router = APIRouter(route_class=RetryRoute)
    db_type = Annotated[AsyncSession, Depends(database.get_db)]
    read_type = Annotated[AsyncSession, Depends(database.get_read_db)]
    numbers = count(1)

    @router.get("/everything")
    async def everything(db: read_type) -> int:
        return len((await db.execute(text("SELECT * FROM orders ORDER BY id LIMIT 9"))).all())

    @router.get("/objects")
    async def objects(db: read_type) -> int:
        query = select(Order).where(Order.state == State.new).order_by(Order.id).limit(9)
        return len((await db.scalars(query)).all())

    @router.get("/stream")
    async def stream(db: read_type) -> int:
        rows = await db.stream(text("SELECT * FROM orders ORDER BY id LIMIT 8"))
        return len([row async for row in rows])

    @router.post("/objects")
    async def add(db: db_type) -> int:
        order = Order(id=next(numbers), item="tea", amount=2, state=State.new)
        db.add(order)
        await db.flush()
        return order.id

    @router.patch("/objects")
    async def change(db: db_type) -> int:
        order = await db.scalar(select(Order).order_by(Order.id).limit(1).with_for_update())
        assert order is not None
        order.amount += 1
        order.state = State.paid
        await db.flush()
        returning = "RETURNING *" if database.engine.name == "postgresql" else ""
        update = text(f"UPDATE orders SET amount = 1 WHERE id = 1 {returning}")
        rows: Any = await db.execute(update)
        return len(rows.all()) if returning else rows.rowcount

    app = FastAPI()
    app.include_router(router)

    @app.exception_handler(DBAPIError)
    async def describe(request: Request, error: DBAPIError) -> Response:
        return Response(str(error.orig), status_code=500)

    return app


REQUESTS = [
    ("GET", "/everything"),
    ("POST", "/objects"),
    ("GET", "/objects"),
    ("GET", "/stream"),
    ("PATCH", "/objects"),
]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A handle with few connections, so that each has plans of everything."""
    settings = DatabaseSettings(url=database_url, pool_size=2, max_overflow=0)
    database = Database(settings, metadata=Base.metadata)
    await database.start(create_tables=Base.metadata)
    yield database
    await database.stop()


async def load(app: FastAPI, stop: asyncio.Event, answers: list[str]) -> None:
    """Send requests, one after the other, until it is time to stop."""
    async with client(app) as http:
        while not stop.is_set():
            for method, path in REQUESTS:
                answer = await http.request(method, path)
                failed = answer.text if answer.is_error else ""
                answers.append(failed and f"{method} {path}: {failed}")


async def test_rolling_migration_fails_no_request(database: Database, database_url: str):
    """Neither reads in autocommit nor transactions on routes that repeat them, in any step."""
    app, stop = application(database), asyncio.Event()
    answers: list[str] = []
    failed: dict[str, set[str]] = {}

    async def many_more() -> None:
        # Often enough for psycopg to keep plans, on each connection.
        seen = len(answers)
        await eventually(lambda: len(answers) > seen + 25)

    async with client(app) as http:
        assert (await http.post("/objects")).status_code == 200
    async with asyncio.TaskGroup() as clients:
        for _ in range(3):
            clients.create_task(load(app, stop, answers))
        await many_more()
        for step, statements in MIGRATIONS[database.engine.name].items():
            seen = len(answers)
            for statement in statements:
                await execute(database_url, statement)
            await many_more()
            failed[step] = set(answers[seen:]) - {""}
        stop.set()
    assert {step: errors for step, errors in failed.items() if errors} == {}


@pytest.mark.databases(*POSTGRESQL_DRIVERS)
@pytest.mark.parametrize("streams", [False, True], ids=["rows", "stream"])
async def test_deadlock_with_a_migration_costs_no_error_in_autocommit(
    database: Database, postgres_url: str, streams: bool
):
    """A migration locks two tables in the order in which a read does not: the server ends the read."""
    migration = await asyncpg.connect(postgres_url)
    await migration.execute("CREATE TABLE customer (id int); INSERT INTO customer VALUES (1)")
    await migration.execute("SET deadlock_timeout = '20s'")
    async with migration.transaction():
        await migration.execute("ALTER TABLE orders ADD COLUMN note text")
        task = asyncio.create_task(customers_with_orders(database, streams=streams))
        async with asyncio.timeout(5):
            while not await migration.fetchval(WAITS):
                await asyncio.sleep(0.01)
        await migration.execute("ALTER TABLE customer ADD COLUMN note text")
    await migration.close()
    assert await task == 1


WAITS = """
    SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database
    WHERE NOT granted AND datname = current_database())
"""


async def customers_with_orders(database: Database, *, streams: bool) -> int:
    """Read two tables as ``ReadDB`` does."""
    statement = text("SELECT * FROM customer, (SELECT count(*) FROM orders) o")
    async with database.read_session() as session:
        if streams:
            return len([row async for row in await session.stream(statement)])
        return len((await session.execute(statement)).all())
