"""on_begin: the first thing of each transaction, such as saying whose rows it may see."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from sqlalchemy import event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection
from websockets.asyncio.client import connect

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ConfigurationError, TransactionAborted
from tests.support.application import Base, Counter, Note, Reply, checked_out, client, eventually
from tests.support.http_server import http_server

COUNT = select(func.count()).select_from(Note)


@dataclass
class Witness:
    """An ``on_begin`` that notes what it was given, and a statement of its own."""

    connections: list[Any]
    statements: list[str]
    fail: BaseException | None = None

    async def __call__(self, session: AsyncSession, connection: HTTPConnection | None) -> None:
        self.connections.append(connection)
        await session.execute(text("SELECT 'first'"))
        if self.fail is not None:
            raise self.fail

    def heard(self, *rest: Any) -> None:
        """Note a statement that is about to be sent, ``BEGIN`` apart."""
        if not rest[2].startswith("BEGIN"):
            self.statements.append(rest[2])


@pytest.fixture
def witness() -> Witness:
    """What on_begin was given, and all statements of the handle."""
    return Witness([], [])


@pytest.fixture
async def watched(database_url: str, witness: Witness) -> AsyncIterator[Database]:
    """A started handle with the witness as its on_begin."""
    database = Database(DatabaseSettings(url=database_url), on_begin=witness)
    await database.start(create_tables=Base.metadata)
    for engine in (database.engine, database.read_engine):
        event.listen(engine.sync_engine, "before_cursor_execute", witness.heard)
    yield database
    assert checked_out(database) == 0
    await database.stop()


async def test_it_comes_first_and_once_in_each_transaction(watched: Database, witness: Witness):
    """Before the user's first statement, again after a commit or rollback, never recursively."""
    async with watched.session() as session:
        await session.execute(text("SELECT 1"))
        await session.execute(text("SELECT 2"))
        async with session.begin_nested():
            await session.execute(text("SELECT 3"))
        await session.commit()
        await session.execute(text("SELECT 4"))
        await session.rollback()
        session.add(Note(text="flushed by the commit"))
    plain = [words for words in witness.statements if "SAVEPOINT" not in words]
    assert plain[:6] == [
        "SELECT 'first'",
        "SELECT 1",
        "SELECT 2",
        "SELECT 3",
        "SELECT 'first'",
        "SELECT 4",
    ]
    assert plain[6] == "SELECT 'first'"
    assert plain[7].startswith("INSERT")
    assert witness.connections == [None] * 3


async def test_savepoint_as_the_first_thing_has_it_outside(watched: Database, witness: Witness):
    """A savepoint that is rolled back takes nothing of it along."""
    async with watched.session() as session:
        with pytest.raises(RuntimeError):
            async with session.begin_nested():
                await session.execute(text("SELECT 1"))
                raise RuntimeError
        await session.execute(text("SELECT 2"))
    assert [words for words in witness.statements if not words.startswith("ROLLBACK")] == [
        "SELECT 'first'",
        "SAVEPOINT sa_savepoint_1",
        "SELECT 1",
        "SELECT 2",
    ]


async def test_it_gets_the_requests_connection(watched: Database, witness: Witness):
    """In handler, stream and background task alike; a snapshot has it as well as a writer."""
    app = FastAPI()

    async def body(db: AsyncSession) -> AsyncIterator[str]:
        await db.scalar(COUNT)
        yield "end"
        await db.commit()

    async def later(db: AsyncSession) -> None:
        await db.scalar(COUNT)

    for path, dependency in (("/write", watched.get_db), ("/report", watched.get_snapshot_db)):

        @app.get(path)
        async def endpoint(
            db: Annotated[AsyncSession, Depends(dependency)], tasks: BackgroundTasks
        ) -> StreamingResponse:
            await db.scalar(COUNT)
            tasks.add_task(later, db)
            return StreamingResponse(body(db), background=tasks)

        witness.connections.clear()
        async with client(app) as http:
            assert (await http.get(path, headers={"X-Tenant": path})).text == "end"
        assert [given.headers["X-Tenant"] for given in witness.connections] == [path] * 3


async def test_it_gets_the_sockets_connection(watched: Database, witness: Witness):
    """A WebSocket route has an HTTPConnection too."""
    app = FastAPI()

    @app.websocket("/{tenant}")
    async def endpoint(socket: WebSocket, db: Annotated[AsyncSession, Depends(watched.get_db)]):
        await socket.accept()
        await db.scalar(COUNT)
        await socket.close()

    async with http_server(app) as address:
        async with connect(f"ws://{address}/blue") as socket:
            await socket.wait_closed()
        await eventually(lambda: checked_out(watched) == 0)
    assert [given.path_params for given in witness.connections] == [{"tenant": "blue"}]


async def test_request_without_statements_never_calls_it(watched: Database, witness: Witness):
    """It is as lazy as the session."""
    app = FastAPI()

    @app.get("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(watched.get_db)]) -> None:
        await db.commit()

    async with client(app) as http:
        assert (await http.get("/")).status_code == 200
    assert witness.connections == []


async def test_its_error_is_the_requests_error(watched: Database, witness: Witness):
    """What it raises goes through the application's handlers, and nothing is written."""
    witness.fail = HTTPException(403, "whose request is this?")
    app = FastAPI()

    @app.post("/execute")
    async def execute(db: Annotated[AsyncSession, Depends(watched.get_db)]) -> None:
        await db.execute(text("INSERT INTO note (text) VALUES ('no')"))

    @app.post("/add")
    async def add(db: Annotated[AsyncSession, Depends(watched.get_db)]) -> None:
        db.add(Note(text="no"))

    async with client(app) as http:
        for path in ("/execute", "/add"):
            response = await http.post(path)
            assert (response.status_code, response.json()) == (
                403,
                {"detail": "whose request is this?"},
            )
    assert set(witness.statements) == {"SELECT 'first'"}
    witness.fail = None
    async with watched.session() as session:
        assert await session.scalar(COUNT) == 0


async def test_nothing_runs_in_a_transaction_that_it_failed_to_begin(
    watched: Database, witness: Witness
):
    """A swallowed error does not let statements through, nor a commit; a rollback does."""
    witness.fail = RuntimeError("no tenant")
    async with watched.session() as session:
        with pytest.raises(RuntimeError, match="no tenant"):
            await session.execute(text("SELECT 1"))
        with pytest.raises(TransactionAborted, match="on_begin raised"):
            await session.execute(text("SELECT 2"))
        await session.rollback()
        witness.fail = None
        assert await session.scalar(text("SELECT 3")) == 3
    assert witness.statements == ["SELECT 'first'", "SELECT 'first'", "SELECT 3"]

    witness.fail = RuntimeError("no tenant")
    with pytest.raises(TransactionAborted):
        async with watched.session() as session:
            with pytest.raises(RuntimeError, match="no tenant"):
                await session.execute(text("SELECT 1"))


async def test_what_it_writes_belongs_to_the_transaction(database_url: str):
    """An audit row is committed and rolled back with the rest, commits of its own do nothing."""

    async def audit(session: AsyncSession, connection: HTTPConnection | None) -> None:
        session.add(Note(text="audit"))
        await session.commit()

    database = Database(DatabaseSettings(url=database_url), on_begin=audit)
    await database.start(create_tables=Base.metadata)
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            session.add(Counter(value=1))
            await session.flush()
            raise RuntimeError
    async with database.session() as session:
        assert list(await session.scalars(select(Note.text))) == ["audit"]
    async with database.session() as session:
        assert list(await session.scalars(select(Note.text))) == ["audit", "audit"]
    await database.stop()


async def test_rollback_of_its_own_is_an_error(database_url: str):
    """Without its transaction the settings would be gone without a sign."""

    async def on_begin(session: AsyncSession, connection: HTTPConnection | None) -> None:
        await session.execute(text("SELECT 1"))
        await session.rollback()

    async with Database(DatabaseSettings(url=database_url), on_begin=on_begin) as database:
        with pytest.raises(TransactionAborted, match="rolled back"):
            async with database.session() as session:
                await session.execute(text("SELECT 2"))
        assert checked_out(database) == 0


async def test_flush_that_fails_in_it_is_the_requests_error(database_url: str):
    """The objects that it adds may be refused by the database; that is what the request hears."""

    async def on_begin(session: AsyncSession, connection: HTTPConnection | None) -> None:
        await session.execute(text("SELECT 1"))
        session.add(Reply(note_id=None))

    database = Database(DatabaseSettings(url=database_url), on_begin=on_begin)
    await database.start(create_tables=Base.metadata)
    with pytest.raises(IntegrityError):
        async with database.session() as session:
            await session.execute(text("SELECT 2"))
    assert checked_out(database) == 0
    await database.stop()


async def test_cancelled_it_leaves_no_connection_in_use(database_url: str):
    """A client that leaves while it waits costs nothing."""
    waiting = asyncio.Event()

    async def on_begin(session: AsyncSession, connection: HTTPConnection | None) -> None:
        await session.execute(text("SELECT 1"))
        waiting.set()
        await asyncio.sleep(5)

    async with Database(DatabaseSettings(url=database_url), on_begin=on_begin) as database:

        async def use() -> None:
            async with database.session() as session:
                await session.execute(text("SELECT 2"))

        task = asyncio.create_task(use())
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert checked_out(database) == 0


async def test_autocommit_reads_are_refused_when_they_are_defined(watched: Database):
    """There is no transaction that could carry the setting; the error names the snapshot."""
    for define in (
        lambda: watched.get_read_db,
        lambda: watched.dependency(read_only=True),
    ):
        with pytest.raises(ConfigurationError, match="get_snapshot_db"):
            define()
    with pytest.raises(ConfigurationError, match="get_snapshot_db"):
        async with watched.read_session():
            pass


# --- Row-level security ---------------------------------------------------------------------------

OF_TENANT = text("SELECT set_config('app.tenant', :tenant, true)")
POLICY = """
CREATE TABLE bill (id serial PRIMARY KEY, tenant text NOT NULL, amount int NOT NULL);
ALTER TABLE bill ENABLE ROW LEVEL SECURITY;
ALTER TABLE bill FORCE ROW LEVEL SECURITY;
CREATE POLICY own_bills ON bill USING (tenant = current_setting('app.tenant', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON bill TO asyncdb_tenants;
GRANT USAGE ON SEQUENCE bill_id_seq TO asyncdb_tenants;
GRANT USAGE ON SCHEMA public TO asyncdb_tenants;
"""
ROLE = """
DO $$ BEGIN
    CREATE ROLE asyncdb_tenants LOGIN NOSUPERUSER NOBYPASSRLS;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END $$
"""


async def set_tenant(session: AsyncSession, connection: HTTPConnection | None) -> None:
    """Say whose rows the transaction may see; no tenant's outside of a request."""
    if connection is not None:
        await session.execute(OF_TENANT, {"tenant": connection.headers["X-Tenant"]})


@asynccontextmanager
async def tenants(postgres_url: str, driver: str) -> AsyncIterator[tuple[Database, Database]]:
    """A handle of a role that the policy binds, with two connections, and one of the superuser."""
    async with Database(DatabaseSettings(url=postgres_url)) as admin:
        async with admin.session() as session:
            await session.execute(text(ROLE))
            for statement in filter(str.strip, POLICY.split(";")):
                await session.execute(text(statement))
        url = make_url(postgres_url).set(
            drivername=f"postgresql+{driver}", username="asyncdb_tenants"
        )
        settings = DatabaseSettings(url=url, pool_size=2, max_overflow=0, pool_timeout=30)
        async with Database(settings, on_begin=set_tenant) as database:
            yield database, admin
            assert checked_out(database) == 0


def bills_app(database: Database) -> FastAPI:
    """Writes and reads bills; no statement of it names a tenant, except for the row's own."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    whose = text("SELECT tenant FROM bill")
    insert = text("INSERT INTO bill (tenant, amount) VALUES (:tenant, :amount)")

    async def read(db: AsyncSession) -> list[str]:
        return list(await db.scalars(whose))

    @app.post("/bills/{tenant}")
    async def write(tenant: str, db: DB, fail: bool = False, commit: bool = False) -> list[str]:
        await db.execute(insert, {"tenant": tenant, "amount": 1})
        if commit:
            await db.commit()
        if fail:
            raise HTTPException(400)
        return await read(db)

    @app.put("/bills")
    async def change(db: DB) -> list[str]:
        return list(await db.scalars(text("UPDATE bill SET amount = amount + 1 RETURNING tenant")))

    @app.get("/bills")
    async def report(
        db: Annotated[AsyncSession, Depends(database.get_snapshot_db)],
    ) -> list[str]:
        return await read(db)

    @app.get("/stream")
    async def stream(db: DB) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            for tenant in await read(db):
                yield f"{tenant} "

        return StreamingResponse(body())

    return app


async def test_no_tenant_ever_sees_the_others_rows(postgres_url: str, driver: str):
    """500 interleaved requests on two connections, some of them cut off: no tenants' rows mix."""
    chance = random.Random(20)
    calls = [
        ("POST", "/bills/{}"),
        ("POST", "/bills/{}?commit=true"),
        ("POST", "/bills/{}?fail=true"),
        ("PUT", "/bills"),
        ("GET", "/bills"),
        ("GET", "/stream"),
    ]
    seen: dict[str, set[str]] = {"red": set(), "blue": set()}
    answered = cut = 0
    async with (
        tenants(postgres_url, driver) as (database, admin),
        client(bills_app(database)) as http,
    ):

        async def call(tenant: str, method: str, path: str, patience: float) -> None:
            nonlocal answered, cut
            try:
                async with asyncio.timeout(patience):
                    response = await http.request(
                        method, path.format(tenant), headers={"X-Tenant": tenant}
                    )
            except TimeoutError:
                cut += 1
                return
            answered += 1
            assert response.status_code == (400 if "fail" in path else 200), response.text
            if response.status_code == 200:
                rows = response.text.split() if path == "/stream" else response.json()
                seen[tenant] |= set(rows)

        for _ in range(10):
            await asyncio.gather(
                *(
                    call(
                        chance.choice(["red", "blue"]),
                        *chance.choice(calls),
                        patience=chance.uniform(0, 0.05) if chance.random() < 0.3 else 30,
                    )
                    for _ in range(50)
                )
            )
        await eventually(lambda: checked_out(database) == 0)
        async with admin.session() as session:
            owners = list(await session.scalars(text("SELECT tenant FROM bill")))
    assert seen == {"red": {"red"}, "blue": {"blue"}}
    assert min(owners.count("red"), owners.count("blue")) > 10
    assert answered + cut == 500
    assert cut > 20


async def test_no_tenant_writes_rows_of_the_other(postgres_url: str, driver: str):
    """A row that is not one's own is refused; the connection that was refused serves the next."""
    async with (
        tenants(postgres_url, driver) as (database, admin),
        client(bills_app(database)) as http,
    ):
        for tenant, status in (("red", 500), ("blue", 200)) * 3:
            response = await http.post("/bills/blue", headers={"X-Tenant": tenant})
            assert response.status_code == status
        async with admin.session() as session:
            owners = list(await session.scalars(text("SELECT tenant FROM bill")))
    assert owners == ["blue"] * 3


async def test_tenant_is_gone_with_the_transaction(postgres_url: str):
    """A session without a tenant sees nothing, on the connections that tenants have used."""
    async with (
        tenants(postgres_url, "asyncpg") as (database, _),
        client(bills_app(database)) as http,
    ):
        for _ in range(2):
            assert (await http.post("/bills/red", headers={"X-Tenant": "red"})).json() != []
            async with database.session() as session:
                assert list(await session.scalars(text("SELECT tenant FROM bill"))) == []
                with pytest.raises(DBAPIError, match="row-level security"):
                    async with session.begin_nested():
                        await session.execute(
                            text("INSERT INTO bill (tenant, amount) VALUES ('red', 1)")
                        )


async def test_another_database_in_the_session_is_left_alone(
    watched: Database, witness: Witness, sqlite_url: str
):
    """A statement that is sent elsewhere begins no transaction of this handle."""
    other = Database(DatabaseSettings(url=f"{sqlite_url}.other"))
    async with other, watched.session() as session:
        elsewhere = {"bind": other.engine.sync_engine}
        await session.execute(text("SELECT 1"), bind_arguments=elsewhere)
        assert witness.connections == []
        await session.execute(text("SELECT 2"))
    assert witness.connections == [None]
