"""After a request or block that has rolled back, its objects stay readable: detached, with no I/O."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import ForeignKey, MetaData, String, event, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.orm.exc import DetachedInstanceError

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute, on_rollback
from fastapi_asyncdb.dialects import family_of
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import TransactionAborted
from tests.contract.test_run_in_transaction import conflict
from tests.support.application import Request as RawRequest
from tests.support.application import checked_out, client, eventually


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user_account"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    logins: Mapped[int] = mapped_column(default=0)
    letters: Mapped[list["Letter"]] = relationship(cascade="all, delete-orphan")


class Letter(Base):
    """A letter without a sender is refused at COMMIT, and not before: the constraint is deferred."""

    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(
        ForeignKey("user_account.id", deferrable=True, initially="DEFERRED")
    )


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def database(database_url: str, missing_tables: MetaData | None) -> AsyncIterator[Database]:
    """A started handle with two users; after the test, every connection must be back."""
    database = Database(DatabaseSettings(url=database_url, hold_warning=0))
    await database.start(create_tables=missing_tables)
    try:
        async with database.session() as session:
            session.add(User(id=1, name="Ada", letters=[Letter(id=1)]))
            session.add(User(id=2, name="Bob"))
        yield database
        assert checked_out(database) == 0
    finally:
        await database.stop()


class Refused(Exception):
    def __init__(self, user: User) -> None:
        self.user = user


async def ada(db: AsyncSession) -> User:
    """Load the user, not from the session's memory."""
    return (await db.scalars(select(User).where(User.name == "Ada"))).one()


async def stored(database: Database) -> dict[str, int]:
    """Return what everybody can see."""
    async with database.read_session() as session:
        rows = await session.execute(select(User.name, User.logins).order_by(User.id))
        return {row.name: row.logins for row in rows}


def logging_app(dependency: Any, log: list[Any]) -> tuple[FastAPI, Callable[..., Any]]:
    """An application whose middleware and exception handler read the user of the request."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(dependency)]

    @app.middleware("http")
    async def access_log(request: Request, call_next: Any) -> Any:
        request.state.user = None
        response = await call_next(request)
        user: Any = request.state.user
        log.append((user.id, user.name, response.status_code))
        return response

    async def current_user(request: Request, db: DB) -> User:
        request.state.user = user = await ada(db)
        return user

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        return JSONResponse({"refused": error.user.name}, 403)

    @app.get("/http-exception")
    async def http_exception(user: Annotated[User, Depends(current_user)]) -> None:
        raise HTTPException(404)

    @app.get("/own-exception")
    async def own_exception(user: Annotated[User, Depends(current_user)]) -> None:
        raise Refused(user)

    @app.get("/invalid")
    async def invalid(user: Annotated[User, Depends(current_user)], number: int) -> None: ...

    return app, current_user


@pytest.mark.parametrize("dependency", ["get_db", "get_read_db", "get_snapshot_db"])
@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/http-exception", 404, {"detail": "Not Found"}),
        ("/own-exception", 403, {"refused": "Ada"}),
    ],
)
async def test_middleware_and_exception_handlers_read_the_users_of_failed_requests(
    database: Database, dependency: str, path: str, status: int, body: object
):
    """A 403 or 404 stays one, whatever reads the request's objects after its rollback."""
    log: list[Any] = []
    app, _ = logging_app(getattr(database, dependency), log)
    async with client(app) as http:
        response = await http.get(path)
    assert (response.status_code, response.json()) == (status, body)
    assert log == [(1, "Ada", status)]


async def test_validation_error_leaves_objects_of_dependencies_readable(database: Database):
    """A dependency may have loaded something before the rest of the request proved invalid."""
    log: list[Any] = []
    app, _ = logging_app(database.get_db, log)
    async with client(app) as http:
        assert (await http.get("/invalid", params={"number": "x"})).status_code == 422
    assert log == [(1, "Ada", 422)]


@pytest.mark.parametrize("fails_at", ["flush", "deferred constraint", "swallowed"])
async def test_objects_stay_readable_when_the_commit_fails(database: Database, fails_at: str):
    """The commit is the library's own: what it refuses is no reason to lose what was loaded."""
    log: list[Any] = []
    app, current_user = logging_app(database.get_db, log)

    @app.exception_handler(IntegrityError)
    @app.exception_handler(TransactionAborted)
    async def conflict(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"user": request.state.user.name}, 409)

    @app.post("/")
    async def write(
        user: Annotated[User, Depends(current_user)],
        db: Annotated[AsyncSession, Depends(database.get_db)],
    ) -> None:
        user.logins += 1
        if fails_at == "flush":
            db.add(User(id=2, name="Another with Bob's number"))
        elif fails_at == "deferred constraint":
            db.add(Letter(user_id=17))
        else:
            await _end_the_transaction(db)

    async with client(app) as http:
        response = await http.post("/")
    if fails_at == "swallowed" and family_of(database.engine.dialect.name) != "postgresql":
        assert response.status_code == 200  # nothing has ended there
        return
    assert (response.status_code, response.json()) == (409, {"user": "Ada"})
    assert log == [(1, "Ada", 409)]
    assert await stored(database) == {"Ada": 0, "Bob": 0}


async def _end_the_transaction(db: AsyncSession) -> None:
    with suppress(Exception):
        await (await db.connection()).execute(text("SELECT nonsense"))


async def test_failed_savepoint_before_the_refusal_loses_nothing(database: Database):
    """An IntegrityError that a savepoint has undone, and then an HTTPException."""
    log: list[Any] = []
    app, current_user = logging_app(database.get_db, log)

    @app.post("/")
    async def write(
        user: Annotated[User, Depends(current_user)],
        db: Annotated[AsyncSession, Depends(database.get_db)],
    ) -> None:
        try:
            async with db.begin_nested():
                db.add(User(name="Bob"))
        except IntegrityError:
            raise HTTPException(409, "There is a Bob") from None

    async with client(app) as http:
        assert (await http.post("/")).json() == {"detail": "There is a Bob"}
    assert log == [(1, "Ada", 409)]


async def test_open_savepoint_loses_nothing(database: Database):
    """A savepoint that was still open ends with the whole."""
    with pytest.raises(Refused) as caught:
        async with database.session() as session:
            user = await ada(session)
            await session.begin_nested()
            user.logins += 1
            await session.flush()
            raise Refused(user)
    assert (caught.value.user.name, caught.value.user.logins) == ("Ada", 1)


async def test_objects_in_every_state_are_readable_and_detached(database: Database):
    """Pending, new, changed, deleted, with another primary key: each keeps what it showed."""
    new, pending = User(id=21, name="New"), User(id=22, name="Pending")
    loaded: list[User] = []
    letters: list[Letter] = []
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            if database.engine.dialect.name == "mysql":  # checks foreign keys at each statement
                await session.execute(text("SET foreign_key_checks = 0"))
            loaded += await session.scalars(select(User).order_by(User.id))
            letters += await session.scalars(select(Letter))
            session.add(new)
            loaded[0].id, loaded[0].logins = 10, 5
            letters[0].user_id = 10
            await session.delete(loaded[1])
            await session.flush()
            session.add(pending)
            raise RuntimeError
    user, bob = loaded
    assert (user.id, user.name, user.logins) == (10, "Ada", 5)
    assert (bob.id, bob.name) == (2, "Bob")
    assert (new.id, new.name) == (21, "New")
    assert pending.name == "Pending"
    assert letters[0].user_id == 10
    for instance in (user, bob, *letters):
        state = inspect(instance)
        assert (state.detached, state.was_deleted, state.session) == (True, False, None)
    for instance in (new, pending):
        assert inspect(instance).transient
    assert inspect(user).identity == (1,)
    assert await stored(database) == {"Ada": 0, "Bob": 0}


async def test_what_was_rolled_back_may_be_stored_by_another_session(database: Database):
    """New objects are new again, and deleted ones are there again."""
    new, pending = User(id=21, name="New"), User(id=22, name="Pending")
    async with database.read_session() as session:
        bob = await session.get_one(User, 2)
        session.expunge(bob)
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            await session.delete(bob)
            session.add(new)
            await session.flush()
            session.add(pending)
            raise RuntimeError
    async with database.session() as session:
        session.add_all([new, pending, bob])
        await session.flush()
        await session.delete(bob)
    assert set(await stored(database)) == {"Ada", "New", "Pending"}


async def test_what_was_never_loaded_says_so_without_a_connection(database: Database):
    """SQLAlchemy's own error for it, which users know; nothing is opened behind their backs."""
    with pytest.raises(Refused) as caught:
        async with database.session() as session:
            raise Refused(await ada(session))
    connected: list[object] = []
    pool = database.engine.sync_engine.pool

    event.listen(pool, "checkout", lambda *_: connected.append(1))
    with pytest.raises(DetachedInstanceError, match="lazy load"):
        _ = caught.value.user.letters
    assert connected == []


@pytest.mark.parametrize("how", ["request", "session"])
async def test_rollback_hook_reads_objects(database: Database, how: str):
    """That is what it is for: the file of an upload that was not stored."""
    seen: list[str] = []

    def note(user: User) -> None:
        seen.append(f"{user.id} {user.name}")

    async def work(session: AsyncSession) -> None:
        user = await ada(session)
        on_rollback(session, note, user)
        await session.delete(user)
        await session.flush()
        raise HTTPException(403)

    if how == "session":
        with pytest.raises(HTTPException):
            async with database.session() as session:
                await work(session)
    else:
        app = FastAPI()

        @app.post("/")
        async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
            await work(db)

        async with client(app) as http:
            assert (await http.post("/")).status_code == 403
    assert seen == ["1 Ada"]


async def test_session_goes_on_with_what_is_stored(database: Database):
    """A dependency that catches the error may load again: not what was rolled back."""
    app = FastAPI()
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    seen: list[tuple[int, int]] = []

    async def audited(db: DB) -> AsyncIterator[User]:
        user = await ada(db)
        try:
            yield user
        except HTTPException:
            again = await ada(db)
            seen.append((user.logins, again.logins))
            again.logins += 10
            raise

    @app.post("/")
    async def endpoint(user: Annotated[User, Depends(audited)], db: DB) -> None:
        user.logins += 1
        await db.flush()
        raise HTTPException(403)

    async with client(app) as http:
        assert (await http.post("/")).status_code == 403
    assert seen == [(1, 0)]
    assert await stored(database) == {"Ada": 0, "Bob": 0}


async def test_explicit_rollback_expires_as_in_sqlalchemy(database: Database):
    """What goes on with the session must not go on with what is not stored."""
    async with database.session() as session:
        user = await ada(session)
        user.logins = 7
        await session.flush()
        await session.rollback()
        assert inspect(user).expired_attributes >= {"logins", "name"}
        await session.refresh(user)
        assert user.logins == 0


async def test_background_task_that_fails_leaves_objects_readable(database: Database):
    """Whatever it raises may carry them."""
    app = FastAPI()
    users: list[User] = []

    @app.post("/")
    async def endpoint(
        tasks: BackgroundTasks, db: Annotated[AsyncSession, Depends(database.get_db)]
    ) -> None:
        async def fail() -> None:
            users.append(await ada(db))
            raise RuntimeError

        tasks.add_task(fail)

    async with client(app) as http:
        await http.post("/")
    assert users[0].name == "Ada"


async def test_cut_stream_leaves_objects_readable(database: Database):
    """A stream that was cut off is rolled back, what it had deleted included."""
    app = FastAPI()
    users: list[User] = []

    @app.get("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
    ) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            users.extend(await db.scalars(select(User).order_by(User.id)))
            await db.delete(users[1])
            await db.flush()
            yield "begun"
            await asyncio.sleep(60)

        return StreamingResponse(body())

    request = RawRequest(app, "/")
    running = asyncio.create_task(request.run())
    await eventually(lambda: b"begun" in request.body)
    request.left.set()
    with suppress(asyncio.CancelledError):
        await running
    assert [(user.id, user.name) for user in users] == [(1, "Ada"), (2, "Bob")]
    assert await stored(database) == {"Ada": 0, "Bob": 0}


async def test_run_in_transaction_leaves_objects_of_a_refusal_readable(database: Database):
    """The error that ends it may carry them, as in a request."""

    async def work(session: AsyncSession) -> None:
        raise Refused(await ada(session))

    with pytest.raises(Refused) as caught:
        await database.run_in_transaction(work)
    assert caught.value.user.name == "Ada"


@pytest.mark.parametrize("where", ["work", "commit"])
async def test_next_attempt_does_not_start_from_what_was_rolled_back(
    database: Database, where: str
):
    """An object of the caller's is read anew: kept values would be counted twice."""
    async with database.session() as session:
        user = await ada(session)
    session.expunge(user)
    attempts = 0

    async def work(session: AsyncSession) -> None:
        nonlocal attempts
        attempts += 1
        session.add(user)
        await session.refresh(user, ["name"])
        user.logins = (await session.run_sync(lambda _: user.logins)) + 1
        await session.flush()
        if attempts == 1:
            if where == "work":
                raise conflict()
            _fail_next_commit(database)

    await database.run_in_transaction(work)
    assert attempts == 2
    assert await stored(database) == {"Ada": 1, "Bob": 0}


def _fail_next_commit(database: Database) -> None:
    dialect = runs_of(database).required().write.dialect
    commit = dialect.do_commit

    def fail(connection: Any) -> None:
        dialect.do_commit = commit  # type: ignore[method-assign]
        dialect.do_rollback(connection)
        raise conflict().orig  # type: ignore[misc]

    dialect.do_commit = fail  # type: ignore[method-assign, assignment]


async def test_retried_request_is_not_disturbed(database: Database):
    """Each attempt of a route loads its own objects; those of the last are readable."""
    log: list[Any] = []
    app, current_user = logging_app(database.get_db, log)
    router = APIRouter(route_class=RetryRoute)
    attempts = 0

    @router.post("/")
    async def endpoint(
        user: Annotated[User, Depends(current_user)],
        db: Annotated[AsyncSession, Depends(database.get_db)],
    ) -> None:
        nonlocal attempts
        attempts += 1
        user.logins += 1
        await db.flush()
        raise conflict() if attempts == 1 else HTTPException(403)

    app.include_router(router)
    async with client(app) as http:
        assert (await http.post("/")).status_code == 403
    assert log == [(1, "Ada", 403)]
    assert attempts == 2
