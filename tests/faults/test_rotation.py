"""Passwords that change while the application runs: a function that returns them, or a passfile."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Credentials, Database, DatabaseSettings, credentials
from fastapi_asyncdb.credentials import CredentialsCache, CredentialsError
from fastapi_asyncdb.errors import CannotConnect, ConfigurationError, DatabaseUnavailable
from fastapi_asyncdb.testing import PostgresServer
from tests.support.application import client, eventually
from tests.support.databases import execute
from tests.support.leaks import PASSWORD, leaks

OLD, NEW = "old-secret", "new-secret"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that asks for passwords, over TCP."""
    hba = "host all rotating,other 127.0.0.1/32 scram-sha-256"
    with PostgresServer(hba=hba) as server:
        asyncio.run(execute(server.url(), "CREATE ROLE rotating LOGIN; CREATE ROLE other LOGIN"))
        yield server


@pytest.fixture(autouse=True)
async def _old_password(server: PostgresServer) -> None:
    await rotate(server, OLD)


async def rotate(server: PostgresServer, password: str, role: str = "rotating") -> None:
    """Give the role another password."""
    await execute(server.url(), f"ALTER ROLE {role} PASSWORD '{password}'")


class Store:
    """Keeps the password of the moment, as a secret store does, and counts how often it is read."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.reads = 0

    async def read(self) -> Any:
        """Return the answers in turn, the last one again and again; raise those that are classes."""
        self.reads += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await asyncio.sleep(0)
        if isinstance(answer, type):
            raise answer(f"no {PASSWORD}")
        return answer

    def publish(self, password: str) -> None:
        """Replace the password."""
        self.answers = [password]


@pytest.fixture
def settings(server: PostgresServer, driver: str) -> DatabaseSettings:
    """Settings without a password."""
    return DatabaseSettings(
        url=f"postgresql+{driver}://rotating@127.0.0.1:{server.port}/postgres",
        connect_timeout=2,
        startup_timeout=0,
    )


async def use(database: Database, connections: int = 1) -> None:
    """Use so many connections at the same time."""
    barrier = asyncio.Barrier(connections)

    async def work() -> None:
        async with database.session() as session:
            await session.execute(text("SELECT 1"))
            await barrier.wait()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(connections):
            tasks.create_task(work())


# --- Rotation -------------------------------------------------------------------------------------


def application(database: Database) -> FastAPI:
    """Return an application that reads and writes."""
    app = FastAPI()

    @app.get("/")
    async def read(db: Annotated[AsyncSession, Depends(database.get_read_db)]) -> Any:
        return await db.scalar(text("SELECT current_user"))

    @app.post("/")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> Any:
        return await db.scalar(text("SELECT pg_current_xact_id()::text"))

    return app


async def load(app: FastAPI, stop: asyncio.Event, statuses: list[int]) -> None:
    """Send requests, one after the other, until it is time to stop."""
    async with client(app) as http:
        while not stop.is_set():
            for method in ("GET", "POST"):
                statuses.append((await http.request(method, "/")).status_code)


@pytest.mark.promise("T23")
async def test_rotated_password_under_load_fails_no_request(
    server: PostgresServer, settings: DatabaseSettings
):
    """New connections are needed all the time, while the password changes under them."""
    store, stop = Store(OLD), asyncio.Event()
    statuses: list[int] = []
    often = settings.model_copy(update={"pool_recycle": 0.1, "pool_ping_idle": 0})
    async with Database(often, password=store.read) as database:
        app = application(database)
        async with asyncio.TaskGroup() as clients:
            for _ in range(6):
                clients.create_task(load(app, stop, statuses))
            await eventually(lambda: len(statuses) > 12)
            # The server first: for a moment the store has a password that is refused.
            await rotate(server, NEW)
            store.publish(NEW)
            seen = len(statuses)
            await eventually(lambda: len(statuses) > seen + 18)
            stop.set()
        # Of all connections none is left.
        await execute(
            server.url(),
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotating'",
        )
        await use(database, connections=10)
    assert set(statuses) == {200}


async def test_rotated_passfile_needs_no_function(
    server: PostgresServer, settings: DatabaseSettings, tmp_path: Path
):
    """Both drivers read the file for each new connection."""
    passfile = tmp_path / "pgpass"

    def write(password: str) -> None:
        passfile.write_text(f"*:*:*:*:{password}\n")
        passfile.chmod(0o600)

    write(OLD)
    url = f"{settings.url.get_secret_value()}?passfile={passfile}"
    async with Database(settings.model_copy(update={"url": SecretStr(url)})) as database:
        await rotate(server, NEW)
        write(NEW)
        await use(database, connections=2)


# --- Calls of the function ------------------------------------------------------------------------


async def test_function_is_called_for_each_new_connection(settings: DatabaseSettings):
    """A password without a lifetime is good for one connection; an open one needs none."""
    store = Store(OLD, SecretStr(OLD))
    async with Database(settings, password=store.read) as database:
        assert store.reads == 1
        await use(database)
        assert store.reads == 1
        await use(database, connections=2)
        assert store.reads == 2


async def test_connections_at_the_same_time_share_a_call(settings: DatabaseSettings):
    """A burst of requests is one call of the secret store."""
    store = Store(OLD)
    async with Database(settings, password=store.read) as database:
        await use(database, connections=10)
    assert store.reads == 2


@pytest.mark.parametrize(("expires_in", "reads"), [(900, 1), (1e-6, 4), (-60, 4)])
async def test_credentials_are_kept_until_they_expire(
    settings: DatabaseSettings, expires_in: float, reads: int
):
    """As long as the function says."""
    store = Store(Credentials(OLD, expires_in=expires_in))
    async with Database(settings, password=store.read) as database:
        for connections in (2, 3, 4):
            await use(database, connections)
    assert store.reads == reads


async def test_password_of_another_type_is_refused():
    """Nothing would mask it in a repr."""
    with pytest.raises(TypeError, match=r"not bytes") as refused:
        Credentials(b"secret")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert "secret" not in str(refused.value)


async def test_refused_credentials_are_not_taken_from_the_cache(
    server: PostgresServer, settings: DatabaseSettings
):
    """Although they have not expired; the new ones are kept in their place."""
    store = Store(Credentials(OLD, expires_in=900), Credentials(NEW, expires_in=900))
    async with Database(settings, password=store.read) as database:
        await rotate(server, NEW)
        await use(database, connections=5)
        await use(database, connections=8)
    assert store.reads == 2


@pytest.mark.promise("T23")
@pytest.mark.parametrize("server_first", [True, False], ids=["server first", "store first"])
async def test_rotation_in_two_steps_waits_for_the_second(
    server: PostgresServer, settings: DatabaseSettings, server_first: bool
):
    """For a moment server and store do not agree, and the request waits for a moment."""
    store = Store(OLD)
    async with Database(settings, password=store.read) as database:
        if server_first:
            await rotate(server, NEW)
        else:
            store.publish(NEW)
        task = asyncio.create_task(use(database, connections=2))
        await eventually(lambda: store.reads == 3)
        if server_first:
            store.publish(NEW)
        else:
            await rotate(server, NEW)
        await task


async def test_user_may_change_with_the_password(
    server: PostgresServer, settings: DatabaseSettings
):
    """As Vault makes a user for each lease."""
    await rotate(server, NEW, role="other")
    store = Store(Credentials(OLD), Credentials(NEW, user="other"))
    async with Database(settings, password=store.read) as database:
        await use(database, connections=2)
        async with database.session() as one, database.session() as two:
            users = {await each.scalar(text("SELECT current_user")) for each in (one, two)}
    assert users == {"rotating", "other"}


async def test_function_that_blocks_runs_in_a_thread(settings: DatabaseSettings):
    """The event loop goes on while it waits."""
    called, answered = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def read() -> str:
        loop.call_soon_threadsafe(called.set)
        assert answered.wait(5)
        return OLD

    async def answer() -> None:
        await called.wait()
        answered.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        async with Database(settings, password=read) as database:
            await use(database)


async def test_coroutines_of_any_callable_are_awaited(settings: DatabaseSettings):
    """A lambda, a partial or an object is no coroutine function, and may return a coroutine."""
    store = Store(OLD)
    async with Database(settings, password=lambda: store.read()) as database:
        await use(database)


async def test_cancelled_request_does_not_end_the_call_of_others():
    """Other requests wait for the same call."""
    called, answer = asyncio.Event(), asyncio.Event()

    async def read() -> str:
        called.set()
        await answer.wait()
        return OLD

    cache = CredentialsCache(read, 5)
    first = asyncio.create_task(cache.get())
    await called.wait()
    second = asyncio.create_task(cache.get())
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    answer.set()
    assert (await second).secret == OLD


# --- Functions that fail --------------------------------------------------------------------------


async def test_credentials_that_stay_refused_are_one_clear_error(settings: DatabaseSettings):
    """The function is called again, and the error says what to correct."""
    store = Store(PASSWORD)
    with pytest.raises(DatabaseUnavailable, match=r"the function in Database\(password=") as caught:
        await Database(settings, password=store.read).start()
    assert store.reads == 3
    assert not leaks(caught.value)


class Outage(Exception):
    """The secret store is down; the text of the exception has the secret."""


FAILURES = {
    "raised tests.faults.test_rotation.Outage": Outage,
    "returned NoneType": None,
    "returned Credentials": Credentials(""),
}


@pytest.mark.parametrize(("words", "failure"), FAILURES.items())
async def test_failing_function_is_one_clear_error(
    settings: DatabaseSettings, words: str, failure: Any
):
    """At the start and in a request; without the text of its exception, which may be the secret."""
    with pytest.raises(DatabaseUnavailable, match=rf"Store\.read .* {words}") as at_start:
        await Database(settings, password=Store(failure).read).start()
    store = Store(OLD, failure, OLD)
    async with Database(settings, password=store.read) as database:
        with pytest.raises(ExceptionGroup) as in_use:
            await use(database, connections=2)
        error = in_use.value.exceptions[0]
        await use(database, connections=2)
    assert isinstance(error, CannotConnect)
    assert words in str(error)
    assert not leaks(at_start.value)
    assert not leaks(error)


async def test_function_without_an_answer_is_an_error_in_time():
    """A connection waits no longer, and a coroutine is cancelled: the next call may succeed."""
    hangs = asyncio.Event()

    async def read() -> str:
        await hangs.wait()
        return OLD

    cache = CredentialsCache(read, 0.05)
    with pytest.raises(CredentialsError, match=r"did not return within 0\.05 s|TimeoutError"):
        await cache.get()
    hangs.set()
    await eventually(lambda: cache._call is not None and cache._call.done())
    assert (await cache.get()).secret == OLD


async def test_function_that_blocks_for_ever_takes_one_thread():
    """A thread cannot be cancelled: all further connections wait for the same one."""
    answer, calls = threading.Event(), []

    def read() -> str:
        calls.append(1)
        answer.wait()
        return OLD

    cache = CredentialsCache(read, 0.05)
    for _ in range(3):
        with pytest.raises(
            CredentialsError, match=r"read in Database.* did not return within 0\.05"
        ):
            await cache.get()
    answer.set()
    await eventually(lambda: cache._call is not None and cache._call.done())
    assert (await cache.get()).secret == OLD
    assert len(calls) == 2


async def test_failing_function_leaves_valid_credentials_in_use(
    settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Credentials are renewed before they expire, so that the secret store may be down for a while."""
    monkeypatch.setattr(credentials, "_USED", 0)
    store = Store(Credentials(OLD, expires_in=900), Outage)
    async with Database(settings, password=store.read) as database:
        await use(database, connections=2)
    assert store.reads == 2
    assert "used until it expires" in caplog.text


# --- Settings -------------------------------------------------------------------------------------


async def test_two_passwords_are_refused(settings: DatabaseSettings):
    """One in the URL, and one that a function returns."""
    url = SecretStr(settings.url.get_secret_value().replace("rotating@", f"rotating:{PASSWORD}@"))
    database = Database(settings.model_copy(update={"url": url}), password=Store(OLD).read)
    with pytest.raises(ConfigurationError, match="contains a password") as caught:
        await database.start()
    assert PASSWORD not in str(caught.value)


async def test_sqlite_has_no_password(sqlite_url: str):
    """The function would never be called."""
    with pytest.raises(ConfigurationError, match="SQLite has no passwords"):
        await Database(DatabaseSettings(url=sqlite_url), password=Store(OLD).read).start()


async def test_settings_of_a_test_have_their_own_password(
    settings: DatabaseSettings, sqlite_url: str
):
    """The function is for the database of the application, and the test uses another one."""
    store = Store(OLD)
    database = Database(settings, password=store.read)
    with database.override_settings(DatabaseSettings(url=sqlite_url)):
        async with database:
            await use(database)
    assert store.reads == 0


async def test_representations_show_no_password():
    """Neither of the credentials nor of what keeps them."""
    shown = [Credentials(PASSWORD), Credentials(SecretStr(PASSWORD), user="ada")]
    assert PASSWORD not in f"{shown} {shown[0]} {shown[0].password}"
