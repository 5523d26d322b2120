"""What waits for anything but the database holds no connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from sqlalchemy import String, event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncAttrs, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from websockets.asyncio.client import connect

from fastapi_asyncdb import Database, DatabaseSettings, on_commit
from fastapi_asyncdb.errors import PoolTimeout, ReadOnlySession
from tests.support.application import Base, Note, Request, checked_out, eventually, stored
from tests.support.cancelling import slow_query
from tests.support.http_server import http_server

pytestmark = pytest.mark.promise("T19")

Use = Callable[[AsyncSession], Awaitable[object]]
COUNT = select(func.count()).select_from(Note)
STREAMS = 200


class LazyBase(AsyncAttrs, DeclarativeBase):
    pass


class LazyNote(LazyBase):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(200))


class Pause:
    """A stream that runs SQL, waits, and runs SQL again."""

    def __init__(self, use: Use) -> None:
        self.use = use
        self.reached, self.over = asyncio.Event(), asyncio.Event()

    async def body(self, db: AsyncSession) -> AsyncIterator[str]:
        await self.use(db)
        yield "first\n"
        self.reached.set()
        await self.over.wait()
        await self.use(db)
        yield "second\n"


async def scalar(db: AsyncSession) -> object:
    """Read a number."""
    return await db.scalar(COUNT)


async def objects(db: AsyncSession) -> object:
    """Read objects."""
    return (await db.scalars(select(Note))).all()


async def unread_result(db: AsyncSession) -> object:
    """Leave the rows in the result."""
    return await db.execute(select(Note))


async def by_key(db: AsyncSession) -> object:
    """Read an object by its key."""
    return await db.get(Note, 1)


async def deferred_attribute(db: AsyncSession) -> object:
    """Load an attribute outside of any call of the session."""
    note = (await db.scalars(select(LazyNote).execution_options(populate_existing=True))).one()
    db.expire(note)
    text = await note.awaitable_attrs.text
    await asyncio.sleep(0)  # the connection is returned in a task
    return text


async def synchronous(db: AsyncSession) -> object:
    """Read in synchronous code."""
    return await db.run_sync(lambda session: session.scalars(select(Note)).all())


async def caught_error(db: AsyncSession) -> object:
    """Go on after an error."""
    with pytest.raises(DBAPIError):
        await db.execute(text("SELECT * FROM missing"))
    return None


async def whole_stream(db: AsyncSession) -> object:
    """Read a stream to its end."""
    return [note async for note in await db.stream_scalars(select(Note))]


async def own_block(db: AsyncSession) -> object:
    """Read in a block."""
    async with db.begin():
        return await db.scalar(COUNT)


async def committed(db: AsyncSession) -> object:
    """Read, and commit."""
    count = await db.scalar(COUNT)
    await db.commit()
    return count


READS = [
    scalar,
    objects,
    unread_result,
    by_key,
    deferred_attribute,
    synchronous,
    caught_error,
    whole_stream,
    own_block,
]


async def assert_nothing_held_in_a_stream(app: FastAPI, database: Database, pause: Pause) -> None:
    """Look while the stream waits, and after it."""
    request = Request(app, "/")
    running = asyncio.create_task(request.run())
    async with asyncio.timeout(10):
        await pause.reached.wait()
    assert checked_out(database) == 0
    pause.over.set()
    await running
    assert request.status == 200
    assert b"second" in request.body
    assert checked_out(database) == 0


@pytest.mark.parametrize("use", READS)
async def test_stream_of_a_reading_session_holds_none(database: Database, use: Use):
    """It is returned after each statement, once its rows are read."""
    app, pause = FastAPI(), Pause(use)
    await add_note(database)

    @app.get("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> StreamingResponse:
        await use(db)
        return StreamingResponse(pause.body(db))

    await assert_nothing_held_in_a_stream(app, database, pause)


async def test_stream_of_a_writing_session_holds_none_after_a_commit(database: Database):
    """Until its next statement; without the commit it would be in a transaction."""
    app, pause = FastAPI(), Pause(committed)
    await add_note(database)

    @app.get("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> StreamingResponse:
        await db.scalar(COUNT)
        return StreamingResponse(pause.body(db))

    await assert_nothing_held_in_a_stream(app, database, pause)


@pytest.mark.parametrize(("dependency", "use"), [("get_read_db", scalar), ("get_db", committed)])
async def test_events_hold_none(database: Database, dependency: str, use: Use):
    """A generator endpoint is a stream from its first event on."""
    sse = pytest.importorskip("fastapi.sse", reason="server-sent events came with FastAPI 0.135")
    app, pause = FastAPI(), Pause(use)
    await add_note(database)

    @app.get("/", response_class=sse.EventSourceResponse)
    async def endpoint(
        db: Annotated[AsyncSession, Depends(getattr(database, dependency))],
    ) -> AsyncIterator[str]:
        async for chunk in pause.body(db):
            yield chunk

    await assert_nothing_held_in_a_stream(app, database, pause)


@pytest.mark.parametrize(("dependency", "use"), [("get_read_db", scalar), ("get_db", committed)])
async def test_socket_holds_none_while_it_waits(database: Database, dependency: str, use: Use):
    """The handler of a socket runs as long as the socket is open."""
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(
        socket: WebSocket, db: Annotated[AsyncSession, Depends(getattr(database, dependency))]
    ) -> None:
        await socket.accept()
        async for _ in socket.iter_text():
            await use(db)
            await socket.send_text("done")

    async with http_server(app) as address, connect(f"ws://{address}/") as socket:
        for _ in range(3):
            await socket.send("now")
            assert await socket.recv() == "done"
            assert checked_out(database) == 0


async def test_block_of_a_reading_session_holds_none(database: Database):
    """A job that reads now and then keeps no connection from others."""
    await add_note(database)
    async with database.read_session() as session:
        note = (await session.scalars(select(Note))).one()
        assert checked_out(database) == 0
        assert await session.get(Note, note.id) is note
        assert checked_out(database) == 0


async def test_handler_checks_out_one_connection_for_all_its_statements(database: Database):
    """A checkout for each statement would cost more than the statements of a short handler."""
    app, checkouts = FastAPI(), []
    event.listen(database.read_engine.sync_engine, "checkout", lambda *args: checkouts.append(args))

    @app.get("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_read_db)]) -> int:
        for _ in range(5):
            await db.scalar(text("SELECT 1"))
        return checked_out(database)

    async def at_start(message: dict[str, Any]) -> None:
        assert checked_out(database) == 0

    request = Request(app, "/", on_send=at_start)
    await request.run()
    assert request.body == b"1"
    assert len(checkouts) == 1


async def test_open_stream_keeps_its_connection(database: Database):
    """Its rows are on the server; the last one, or the end of the loop, gives the connection back."""
    await add_note(database)
    await add_note(database)
    async with database.read_session() as session:
        result = await session.stream_scalars(select(Note).execution_options(yield_per=1))
        assert await anext(aiter(result)) is not None
        assert checked_out(database) == 1
        await session.scalar(COUNT)
        assert checked_out(database) == 1
        await result.close()
        assert checked_out(database) == 0


async def test_connection_that_was_asked_for_is_kept(database: Database):
    """Until the session's next commit or rollback, as SQLAlchemy's own."""
    async with database.read_session() as session:
        connection = await session.connection()
        await session.scalar(text("SELECT 1"))
        assert await connection.scalar(text("SELECT 1")) == 1
        assert checked_out(database) == 1
        await session.commit()
        await session.scalar(text("SELECT 1"))
        assert checked_out(database) == 0


async def test_hooks_wait_for_the_end_of_the_block(database: Database):
    """Returning a connection is no commit."""
    calls: list[str] = []
    async with database.read_session() as session:
        on_commit(session, calls.append, "done")
        await session.scalar(text("SELECT 1"))
        await session.scalar(text("SELECT 1"))
        assert calls == []
    assert calls == ["done"]


async def test_change_is_refused_between_two_statements(database: Database):
    """What was changed stays in the session, and its flush is refused."""
    await add_note(database)
    with pytest.raises(ReadOnlySession):
        async with database.read_session() as session:
            note = (await session.scalars(select(Note))).one()
            note.text = "changed"
            assert checked_out(database) == 0
    async with database.read_session() as session:
        session.add(Note(text="new"))
        with pytest.raises(ReadOnlySession):
            await session.scalar(COUNT)
        await session.rollback()
    assert await stored(database) == ["note"]


@pytest.mark.parametrize("change", ["new", "dirty"])
async def test_change_that_no_statement_flushes_is_refused_at_the_end(
    database: Database, change: str
):
    """It is not lost in silence, although no transaction is left that could end."""
    await add_note(database)
    with pytest.raises(ReadOnlySession):
        async with database.read_session() as session:
            note = (await session.scalars(select(Note))).one()
            if change == "new":
                session.add(Note(text="new"))
            else:
                note.text = "changed"
            with session.no_autoflush:
                await session.scalar(COUNT)
            assert checked_out(database) == 0
    assert await stored(database) == ["note"]


async def test_attributes_loaded_one_after_the_other_share_no_connection_with_others(
    database: Database,
):
    """The connection is not returned while the second one is being loaded."""
    await add_note(database)
    async with database.read_session() as session:
        note = (await session.scalars(select(LazyNote))).one()
        for _ in range(20):
            session.expire(note)
            assert await note.awaitable_attrs.text == "note"
    await eventually(lambda: checked_out(database) == 0)


async def test_connection_that_was_asked_for_in_vain_is_not_kept(database_url: str):
    """A later statement returns its own."""
    few = DatabaseSettings(url=database_url, pool_size=1, max_overflow=0, pool_timeout=0.05)
    async with Database(few) as database, database.read_session() as session:
        async with database.read_session() as other:
            await other.connection()
            with pytest.raises(PoolTimeout):
                await session.connection()
        await session.scalar(text("SELECT 1"))
        assert checked_out(database) == 0


async def test_what_goes_to_another_database_is_committed(database: Database, tmp_path: Path):
    """A reading session whose own get_bind leads to a second engine writes there, as before."""
    other = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'other.db'}")
    async with other.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)

    class Routed(Session):
        def get_bind(self, mapper: Any = None, **options: Any) -> Any:
            return super().get_bind(mapper, **options) if mapper is None else other.sync_engine

    class RoutedSession(AsyncSession):
        sync_session_class = Routed

    routed = Database(database.settings, session_class=RoutedSession)
    async with routed, routed.read_session() as session:
        session.add(Note(text="seen"))
        await session.flush()
        await session.scalar(text("SELECT 1"))
    async with other.connect() as connection:
        assert await connection.scalar(COUNT) == 1
    await other.dispose()


async def test_statement_given_up_in_a_stream_holds_none(database: Database):
    """The application's own timeout ends the statement, not the stream."""
    await add_note(database)
    endless = text(slow_query(database))

    async def give_up(db: AsyncSession) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await db.execute(endless)

    async with database.read_session() as session:
        await give_up(session)
        await eventually(lambda: checked_out(database) == 0)
        assert await session.scalar(COUNT) == 1


@pytest.mark.parametrize(("dependency", "use"), [("get_read_db", scalar), ("get_db", committed)])
async def test_many_streams_live_on_five_connections(database_url: str, dependency: str, use: Use):
    """All are open at the same time; each queries before and after."""
    settings = DatabaseSettings(url=database_url, pool_size=5, max_overflow=0)
    async with Database(settings) as database:
        await add_note(database)
        app, opened, go_on = FastAPI(), 0, asyncio.Event()

        @app.get("/")
        async def endpoint(
            db: Annotated[AsyncSession, Depends(getattr(database, dependency))],
        ) -> StreamingResponse:
            async def body() -> AsyncIterator[str]:
                nonlocal opened
                await use(db)
                opened += 1
                yield "first\n"
                await go_on.wait()
                await use(db)
                yield "second\n"

            return StreamingResponse(body())

        requests = [Request(app, "/") for _ in range(STREAMS)]
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(request.run())
            while opened < STREAMS:
                await asyncio.sleep(0.01)
            assert checked_out(database) == 0
            go_on.set()
        assert {request.body for request in requests} == {b"first\nsecond\n"}


async def add_note(database: Database) -> None:
    """Store a row."""
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with database.session() as session:
        session.add(Note(text="note"))
