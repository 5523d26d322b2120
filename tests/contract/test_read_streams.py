"""A reading session streams, in a snapshot that lives as long as its streams."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import MetaData, func, insert, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, ResourceClosedError
from sqlalchemy.ext.asyncio import AsyncResult, AsyncSession
from sqlalchemy.ext.asyncio.exc import AsyncMethodRequired
from starlette.requests import ClientDisconnect

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.dialects import family_of
from fastapi_asyncdb.errors import ConcurrentSessionUse, ReadOnlySession
from tests.support.application import Note, Request, checked_out, client
from tests.support.cancelling import Cancellable, Witness, slow_query
from tests.support.server_sql import end_session, number_of, sleep
from tests.support.tcp_proxy import Proxy

pytestmark = pytest.mark.promise("T17")

ROWS = 500
# Without yield_per the first fetch of an ORM stream is the last.
TEXTS = select(Note.text).order_by(Note.id).execution_options(yield_per=50)
COUNT = select(func.count()).select_from(Note)


@pytest.fixture
async def database(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A started handle with one connection, a second that writes, and rows to stream.

    After the test, no connection is in use and no transaction is open on the server.
    """
    reader = DatabaseSettings(url=database_url, pool_size=1, max_overflow=0, pool_timeout=2)
    database = Database(reader)
    await database.start(create_tables=missing_tables)
    async with database.session() as session:
        await session.execute(insert(Note), [{"text": str(n)} for n in range(ROWS)])
    yield database
    await Witness(database, database_url).nothing_is_left_behind()
    await database.stop()


@pytest.fixture
async def writer(database: Database, database_url: str) -> AsyncIterator[Database]:
    """Another process, so to speak, which adds a row."""
    async with Database(DatabaseSettings(url=database_url)) as writer:
        yield writer


async def add(writer: Database) -> None:
    """Commit one more row, beside whatever the reader does."""
    async with writer.session() as session:
        session.add(Note(text="new"))


async def drain(result: Any) -> int:
    """Read a stream to its end, and return how many rows there were."""
    return len([row async for row in result])


async def test_rows_are_streamed(database: Database):
    """stream() and stream_scalars() work, one after the other, and after an ordinary read."""
    async with database.read_session() as session:
        assert await session.scalar(COUNT) == ROWS
        assert await drain(await session.stream(select(Note))) == ROWS
        assert [row async for row in await session.stream_scalars(TEXTS)] == [
            str(n) for n in range(ROWS)
        ]
        assert await session.scalar(COUNT) == ROWS


async def test_rows_come_in_batches_with_yield_per(database: Database):
    """Batches are for streams; execute() refuses them, and leaves nothing open."""
    async with database.read_session() as session:
        result = await session.stream(select(Note).execution_options(yield_per=100))
        assert [len(part) async for part in result.partitions()] == [100] * 5
        with pytest.raises(AsyncMethodRequired):  # so says SQLAlchemy, whatever the session
            await session.execute(select(Note), execution_options={"yield_per": 100})
        assert await session.scalar(COUNT) == ROWS


async def test_read_after_a_stream_sees_new_commits(database: Database, writer: Database):
    """The snapshot of a stream ends with it: read to its end, or closed."""
    async with database.read_session() as session:
        assert await drain(await session.stream(TEXTS)) == ROWS
        await add(writer)
        assert await session.scalar(COUNT) == ROWS + 1
        result = await session.stream(TEXTS)
        assert await anext(result) == ("0",)
        await result.close()
        await add(writer)
        assert await session.scalar(COUNT) == ROWS + 2
        assert await (await session.stream_scalars(TEXTS)).first() == "0"
        await add(writer)
        assert await session.scalar(COUNT) == ROWS + 3


async def test_reads_beside_an_open_stream_share_its_snapshot(database: Database, writer: Database):
    """They run on the same connection, and see what the stream sees."""
    async with database.read_session() as session:
        result = await session.stream(TEXTS)
        assert await anext(result) == ("0",)
        await add(writer)
        assert await session.scalar(COUNT) == ROWS
        assert checked_out(database) == 1
        assert await drain(result) == ROWS - 1
        assert await session.scalar(COUNT) == ROWS + 1


async def test_two_streams_at_once_share_a_snapshot(database: Database, writer: Database):
    """The snapshot ends with the last of them."""
    async with database.read_session() as session:
        first = await session.stream(TEXTS)
        assert await anext(first) == ("0",)
        await add(writer)
        second = await session.stream(TEXTS)
        await first.close()
        assert await session.scalar(COUNT) == ROWS
        assert await drain(second) == ROWS
        assert await session.scalar(COUNT) == ROWS + 1


async def test_stream_that_is_left_in_the_middle_ends_with_its_session(database: Database):
    """A loop that breaks, and a block that raises, leave nothing open."""
    async with database.read_session() as session:
        async for _ in await session.stream(TEXTS):
            break
    assert checked_out(database) == 0
    with pytest.raises(ZeroDivisionError):
        async with database.read_session() as session:
            async for _ in await session.stream(TEXTS):
                raise ZeroDivisionError
    async with database.read_session() as session:
        assert await session.scalar(COUNT) == ROWS


async def test_read_after_a_break_sees_new_commits(database: Database, writer: Database):
    """The snapshot of a stream that cannot be read on ends at the next statement."""
    async with database.read_session() as session:
        async for _ in await session.stream(TEXTS):
            break
        await add(writer)
        assert await session.scalar(COUNT) == ROWS + 1
        async for _ in await session.stream(TEXTS):
            break
        await add(writer)
        assert await drain(await session.stream(TEXTS)) == ROWS + 2


async def test_reads_after_a_stream_cost_one_round_trip(
    postgres_url: str, proxy: Proxy, driver: str
):
    """Counted on the wire, on the connection that has streamed: it is in autocommit again."""
    url = make_url(postgres_url).set(drivername=f"postgresql+{driver}", port=proxy.port)
    one = text("SELECT 1")
    beside = after = 0
    async with Database(DatabaseSettings(url=url, pool_size=1)) as database:
        for _ in range(8):  # the first ones prepare the statement
            async with database.read_session() as session:
                await drain(await session.stream(one))
                before = proxy.round_trips
                await session.scalar(one)
                beside = proxy.round_trips - before
            async with database.read_session() as session:
                before = proxy.round_trips
                await session.scalar(one)
                after = proxy.round_trips - before
    assert (beside, after) == (1, 1)


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
async def test_stream_ends_with_the_transaction_of_its_session(
    database: Database, writer: Database, end: str
):
    """Its rows are not to be had any more; the session reads on, in autocommit."""
    async with database.read_session() as session:
        result = await session.stream(TEXTS)
        assert await anext(result) == ("0",)
        await add(writer)
        await getattr(session, end)()
        assert checked_out(database) == 0
        async with database.read_session() as other:  # who has the connection now
            beside = await other.stream(TEXTS)
            with pytest.raises(ResourceClosedError):
                await drain(result)
            await result.close()
            assert await drain(beside) == ROWS + 1
        assert await session.scalar(COUNT) == ROWS + 1


async def test_stream_refuses_to_write(database: Database):
    """Whether the text shows it, or a function hides it (on PostgreSQL)."""
    statement = insert(Note).values(text="no").returning(Note.id)
    async with database.read_session() as session:
        with pytest.raises(ReadOnlySession):
            await session.stream(statement)
        assert await session.scalar(COUNT) == ROWS
        if family_of(database.engine.dialect.name) == "postgresql":
            with pytest.raises(Exception, match="read-only transaction"):  # asyncpg's own
                await drain(await session.stream(text("SELECT nextval('note_id_seq')")))
            assert await session.scalar(text("SELECT nextval('note_id_seq')"))


async def test_statement_that_fails_leaves_the_session_usable(database: Database):
    """A stream that cannot begin, and a read that fails beside one."""
    async with database.read_session() as session:
        with pytest.raises(DBAPIError):
            await session.stream(text("SELECT * FROM nowhere"))
        assert await session.scalar(COUNT) == ROWS
        result = await session.stream(TEXTS)
        with pytest.raises(DBAPIError):
            await session.execute(text("SELECT * FROM nowhere"))
        await result.close()
        assert await session.scalar(COUNT) == ROWS


async def test_connections_can_stream(database: Database, writer: Database):
    """The session's own, and those of the reading engine."""
    async with database.read_session() as session:
        connection = await session.connection()
        assert await drain(await connection.stream(TEXTS)) == ROWS
        await add(writer)
        assert await session.scalar(COUNT) == ROWS + 1
    async with database.read_engine.connect() as connection:
        async with connection.stream(TEXTS) as result:
            assert await anext(result) == ("0",)
        await add(writer)
        assert await connection.scalar(COUNT) == ROWS + 2


async def test_two_tasks_are_told(database: Database):
    """One session does one thing at a time, the fetches of its streams included."""
    async with database.read_session() as session:
        result = await session.stream(TEXTS)
        reading = asyncio.create_task(session.execute(sleep(database, 0.3)))
        await asyncio.sleep(0)
        with pytest.raises(ConcurrentSessionUse):
            await drain(result)
        await reading
        await result.close()


async def test_connection_that_is_lost_in_the_middle_is_replaced(
    database: Database, database_url: str
):
    """The stream fails; the pool does not keep its connection."""
    if database_url.startswith("sqlite"):
        return  # has no connection to lose
    async with database.read_session() as session, Database(database.settings) as other:
        number = await number_of(session)
        # MySQL has sent the rows of a short one already.
        long = text("SELECT seq, REPEAT('x', 1000) FROM seq_0_to_10000000")
        result = await session.stream(long if database.engine.name == "mysql" else TEXTS)
        assert (await anext(result))[0] in ("0", 0)
        await end_session(other, number)
        with pytest.raises(Exception):  # noqa: B017, PT011 - asyncpg has several, of its own
            await drain(result)
        await session.rollback()
        assert await session.scalar(COUNT) == ROWS


async def test_objects_beside_an_open_stream_are_refused(database: Database):
    """A stream that the response goes on with does not hide what the handler tried to write."""
    app = FastAPI()

    @app.get("/")
    async def add_beside(
        db: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> StreamingResponse:
        result = await db.stream(TEXTS)
        db.add(Note(text="no"))
        return StreamingResponse(row.text async for row in result)

    async with client(app) as http:
        assert (await http.get("/")).status_code == 500


# --- Requests -------------------------------------------------------------------------------------


def app_of(database: Database) -> FastAPI:
    """An application that streams in the response's body, from the handler, and as events."""
    ReadDB = Annotated[AsyncSession, Depends(database.get_read_db)]
    app = FastAPI()

    async def lines(result: AsyncResult[Any]) -> AsyncIterator[str]:
        async for row in result:
            yield f"{row.text}\n"

    async def body(db: AsyncSession) -> AsyncIterator[str]:
        async for line in lines(await db.stream(TEXTS)):
            yield line

    @app.get("/body")
    async def in_the_body(db: ReadDB) -> StreamingResponse:
        return StreamingResponse(body(db))

    @app.get("/handler")
    async def in_the_handler(db: ReadDB) -> StreamingResponse:
        assert await db.scalar(COUNT) == ROWS
        return StreamingResponse(lines(await db.stream(TEXTS)))

    return app


@pytest.mark.parametrize("path", ["/body", "/handler"])
async def test_response_streams(database: Database, path: str):
    """The stream may begin in the handler, or with the body; both hold one connection."""
    async with client(app_of(database)) as http:
        for _ in range(2):
            response = await http.get(path)
            assert response.text == "".join(f"{n}\n" for n in range(ROWS))
            assert checked_out(database) == 0


async def test_events_stream(database: Database):
    """Server-sent events begin before the handler is done; that does not end their stream."""
    sse = pytest.importorskip("fastapi.sse", reason="server-sent events came with FastAPI 0.135")
    app = FastAPI()

    @app.get("/", response_class=sse.EventSourceResponse)
    async def events(
        db: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> AsyncIterator[str]:
        async for note in await db.stream_scalars(TEXTS):
            yield note

    for _ in range(5):
        request = Request(app, "/")
        await request.run()
        assert request.body.count(b"data: ") == ROWS


@pytest.mark.parametrize("path", ["/body", "/handler"])
@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_client_that_leaves_in_the_middle(database: Database, path: str, spec_version: str):
    """The snapshot ends, and the next request gets the connection."""
    request = Request(app_of(database), path, spec_version=spec_version)

    async def leave(message: dict[str, Any]) -> None:
        if b"5\n" in message.get("body", b""):
            request.left.set()
            await asyncio.sleep(0)

    request.on_send = leave
    with contextlib.suppress(ClientDisconnect):  # where send() tells, Starlette raises it
        await request.run()
    assert request.body.count(b"\n") < ROWS
    async with asyncio.timeout(5), client(app_of(database)) as http:
        assert len((await http.get(path)).text.splitlines()) == ROWS


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_stream_that_is_cancelled_while_it_waits(database: Database, how: str):
    """A cancellation in the middle of a fetch, or of the end, leaves nothing behind."""
    slow = slow_query(database)

    async def fetch() -> None:
        async with database.read_session() as session:
            assert await anext(await session.stream(TEXTS)) == ("0",)
            await drain(await session.stream(text(slow)))

    for pause in (0.0, 0.01, 0.1):
        work = Cancellable(fetch, how)
        work.start()
        await asyncio.sleep(pause)
        await work.cancel()
        assert checked_out(database) == 0
        async with database.read_session() as session:
            assert await session.scalar(COUNT) == ROWS


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_stream_that_is_cancelled_anywhere(database: Database, how: str):
    """At its begin, between two fetches, at its end: the next one finds a connection in autocommit."""
    connected = asyncio.Event()

    async def read() -> None:
        async with database.read_session() as session:
            await session.connection()
            connected.set()
            await drain(await session.stream(TEXTS))
            await drain(await session.stream(TEXTS))

    for steps in range(0, 200, 5):
        connected.clear()
        work = Cancellable(read, how)
        work.start()
        await connected.wait()
        for _ in range(steps):
            await asyncio.sleep(0)
        await work.cancel()
        assert checked_out(database) == 0
    assert await asyncio.wait_for(count(database), 5) == ROWS


@pytest.mark.parametrize("how", ["task", "scope"])
async def test_end_that_is_cancelled_is_finished(
    postgres_url: str, proxy: Proxy, driver: str, how: str
):
    """Nothing stays open; and a client that leaves while the snapshot ends costs no connection."""
    url = proxy.through(postgres_url, driver)
    pid = text("SELECT pg_backend_pid()")
    async with Database(DatabaseSettings(url=url, pool_size=1, max_overflow=0)) as database:
        async with database.read_session() as session:
            before = await session.scalar(pid)

        async def read() -> None:
            async with database.read_session() as session:
                await drain(await session.stream(text("SELECT 1")))

        work = Cancellable(read, how)
        work.start()
        await proxy.commit_seen.wait()
        await work.cancel()
        assert checked_out(database) == 0
        async with database.read_session() as session:
            # SQLAlchemy gives it up when it hears of the cancellation, as of one in a fetch.
            assert how == "task" or await session.scalar(pid) == before
            assert not await Witness(database, url).sessions("state LIKE 'idle in transaction%'")


async def count(database: Database) -> int | None:
    """Return how many rows there are, read in a session of its own."""
    async with database.read_session() as session:
        return await session.scalar(COUNT)
