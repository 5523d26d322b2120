"""A fresh database for each test: as it was prepared, dropped whatever happens, and fast to use."""

import asyncio
import logging
import shutil
import sqlite3
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import asyncpg
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import MetaData, func, make_url, select, text
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb import DB, Database, DatabaseSettings, create_lifespan, default_database
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import ConfigurationError, DatabaseNotStarted
from fastapi_asyncdb.testing import DatabaseTemplate, isolated_database
from fastapi_asyncdb.testing.databases import isolated as isolated_module
from fastapi_asyncdb.testing.databases import postgresql as postgresql_module
from fastapi_asyncdb.testing.databases.copies import unique_name
from fastapi_asyncdb.testing.servers.address import with_database
from tests.support.application import Base, Note, running, stored
from tests.support.databases import EVERY_KIND
from tests.support.kept_mysql_tables import connect

pytestmark = pytest.mark.databases(*EVERY_KIND)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_database: str) -> Path:
    """Where temporary files are made, and nothing else is."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    # So that the databases of one test can be told from those of the tests beside it. Such a name
    # has to be quoted. The suite's own database has its name by now.
    monkeypatch.setenv("PYTEST_XDIST_WORKER", f"T{abs(hash(str(tmp_path))):x}"[:12] + "-")
    return folder


async def left_over(url: str) -> list[str]:
    """Return what is left of templates and copies: databases, or files."""
    if url.startswith("sqlite"):
        return await asyncio.to_thread(
            lambda: [str(p) for p in Path(tempfile.gettempdir()).iterdir()]
        )
    prefix = unique_name().rpartition("_")[0]
    if url.startswith("mysql"):
        with closing(connect(url)) as server, server.cursor() as cursor:
            cursor.execute("SHOW DATABASES")
            names = [name for (name,) in cursor if name.startswith(prefix)]
        return [name for name in names if name != make_url(url).database]  # the suite's own
    connection = await asyncpg.connect(url.replace("+psycopg", "").replace("+asyncpg", ""))
    try:
        found = await connection.fetch("SELECT datname FROM pg_database")
    finally:
        await connection.close()
    return [row["datname"] for row in found if row["datname"].startswith(prefix)]


def files() -> list[Path]:
    """Return the folders of SQLite's templates and copies."""
    return [*Path(tempfile.gettempdir()).glob("*/*")]


async def add_note(database: Database, words: str = "seed") -> None:
    """Commit a row."""
    async with database.session() as session:
        session.add(Note(text=words))


# --- Templates ------------------------------------------------------------------------------------


async def test_each_copy_begins_as_it_was_prepared(database_url: str):
    """What one test commits, another does not see; tables first, then rows. No task is left."""
    tasks = asyncio.all_tasks()
    async with DatabaseTemplate(database_url, add_note, metadata=Base.metadata) as template:
        for words in ("first", "second"):
            async with template.database() as database:
                await add_note(database, words)
                assert await stored(database) == ["seed", words]
    assert await left_over(database_url) == []
    assert asyncio.all_tasks() == tasks


async def test_copies_live_side_by_side_and_may_change_their_tables(database_url: str):
    """Real commits on several connections, and DDL, in several copies at once."""
    async with (
        DatabaseTemplate(database_url, metadata=Base.metadata) as template,
        template.database() as one,
        template.database() as other,
    ):
        await asyncio.gather(*(add_note(one, str(number)) for number in range(8)))
        async with other.session() as session:
            await session.execute(text("DROP TABLE reply"))
            await session.execute(text("DROP TABLE note"))
        assert len(await stored(one)) == 8
        assert len(await left_over(database_url)) == (1 if database_url.startswith("sqlite") else 3)


async def test_nothing_is_left_after_failures(database_url: str):
    """The test fails with a transaction open; then what is around it fails."""
    with pytest.raises(ZeroDivisionError):
        async with DatabaseTemplate(database_url, metadata=Base.metadata) as template:
            with pytest.raises(KeyError):
                async with template.database() as database, database.engine.connect() as connection:
                    await connection.execute(select(func.count()).select_from(Note))
                    raise KeyError
            raise ZeroDivisionError
    assert await left_over(database_url) == []


async def test_nobody_gets_into_a_template(postgres_url: str):
    """A client that comes back would keep the server from copying it."""
    async with DatabaseTemplate(postgres_url, metadata=Base.metadata):
        [name] = await left_over(postgres_url)
        with pytest.raises(
            asyncpg.ObjectNotInPrerequisiteStateError, match="not currently accepting"
        ):
            await asyncpg.connect(with_database(SecretStr(postgres_url), name).get_secret_value())


async def test_user_who_may_not_make_databases_is_told(postgres_url: str):
    """In the server's words, and not that there is nothing to drop."""
    role = unique_name()
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f'CREATE ROLE "{role}" LOGIN')
    url = make_url(postgres_url).set(username=role).render_as_string()
    with pytest.raises(DBAPIError, match="permission denied to create database"):
        await DatabaseTemplate(url, metadata=Base.metadata).__aenter__()
    await admin.execute(f'DROP ROLE "{role}"')
    await admin.close()


@pytest.mark.parametrize("looks", [0, 50])
async def test_copy_is_dropped_under_its_clients(
    postgres_url: str, looks: int, monkeypatch: pytest.MonkeyPatch
):
    """A connection that a test forgot does not keep the database, even if it was not seen before."""
    monkeypatch.setattr(postgresql_module, "_LOOKS", looks)
    async with DatabaseTemplate(postgres_url, metadata=Base.metadata) as template:
        async with template.copy() as copy:
            forgotten = await asyncpg.connect(copy.get_secret_value())
        assert len(await left_over(postgres_url)) == 1
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
            await forgotten.fetch("SELECT 1")
        forgotten.terminate()


async def test_client_that_has_not_quite_gone_costs_nothing(postgres_url: str):
    """A server that finds a client in a database to drop sleeps for 100 ms before it looks again."""
    times = []
    async with DatabaseTemplate(postgres_url, metadata=Base.metadata) as template:
        for _ in range(5):
            async with template.copy() as copy:
                client = await asyncpg.connect(copy.get_secret_value())
                since = time.perf_counter()
            times.append(time.perf_counter() - since)
            client.terminate()
    assert min(times) < 0.1


async def test_failed_preparation_leaves_nothing(database_url: str):
    """Its own error comes out, and the template may be prepared again."""
    fails = [True, False]

    async def prepare(database: Database) -> None:
        await add_note(database)
        if fails.pop(0):
            raise ZeroDivisionError

    template = DatabaseTemplate(database_url, prepare, metadata=Base.metadata)
    with pytest.raises(ZeroDivisionError):
        await template.__aenter__()
    assert await left_over(database_url) == []
    assert repr(template) == "<DatabaseTemplate not prepared>"
    async with template, template.database() as database:
        assert await stored(database) == ["seed"]


async def test_cancelled_preparation_leaves_nothing(database_url: str):
    """A session that is interrupted cleans up."""
    prepares = asyncio.Event()

    async def prepare(database: Database) -> None:
        prepares.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(DatabaseTemplate(database_url, prepare).__aenter__())
    await prepares.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await left_over(database_url) == []


async def test_cancelled_copy_leaves_nothing(database_url: str):
    """At whatever moment the test is cancelled, its database goes."""
    async with DatabaseTemplate(database_url, metadata=Base.metadata) as template:

        async def use() -> None:
            async with template.database() as database:
                await add_note(database)

        for moment in range(0, 40, 4):
            task = asyncio.create_task(use())
            await asyncio.sleep(moment / 1000)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        assert len(await left_over(database_url)) == 1
        assert len(await asyncio.to_thread(files)) <= 1
    assert await left_over(database_url) == []


async def test_drop_that_is_cancelled_goes_on(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """It would never be dropped otherwise."""
    async with DatabaseTemplate(database_url, metadata=Base.metadata) as template:
        drop, begun = template._copies.drop, asyncio.Event()

        async def drop_slowly(name: str) -> None:
            begun.set()
            await asyncio.sleep(0.05)
            await drop(name)

        async def use() -> None:
            async with template.copy():
                monkeypatch.setattr(template._copies, "drop", drop_slowly)

        task = asyncio.create_task(use())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await left_over(database_url)) == 1


async def test_copy_that_is_cancelled_is_made_before_it_is_dropped(monkeypatch: pytest.MonkeyPatch):
    """The thread that copies a file cannot be stopped, nor can a server be."""
    copy, begun = shutil.copyfile, threading.Event()

    def copy_slowly(source: Path, file: Path) -> None:
        begun.set()
        time.sleep(0.1)
        file.parent.mkdir(exist_ok=True)
        copy(source, file)

    async with DatabaseTemplate("sqlite://", metadata=Base.metadata) as template:
        monkeypatch.setattr(shutil, "copyfile", copy_slowly)
        task = asyncio.create_task(template.copy().__aenter__())
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.2)
        assert len(await asyncio.to_thread(files)) == 1


async def test_template_serves_several_event_loops(database_url: str):
    """A fixture of the session may prepare on one loop, and tests run on others."""

    async def use() -> list[str]:
        async with template.database() as database:
            return await stored(database)

    async with DatabaseTemplate(database_url, add_note, metadata=Base.metadata) as template:
        assert await asyncio.to_thread(asyncio.run, use()) == ["seed"]


async def test_tables_are_made_whatever_the_environment_says(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """DATABASE_ENVIRONMENT is the application's."""
    monkeypatch.setenv("DATABASE_ENVIRONMENT", "production")
    async with (
        DatabaseTemplate(database_url, add_note, metadata=Base.metadata) as template,
        template.database() as database,
    ):
        assert await stored(database) == ["seed"]


async def test_client_that_prepare_forgot_does_not_disturb(database_url: str):
    """What it has committed is in the copies, though on SQLite it is in the log so far."""
    kept = []

    async def prepare(database: Database) -> None:
        assert database.settings is not None
        forgotten = Database(database.settings)
        await forgotten.start()
        kept.append(forgotten)
        await add_note(forgotten, "committed")

    async with DatabaseTemplate(database_url, prepare, metadata=Base.metadata) as template:
        async with asyncio.timeout(3), template.database() as database:
            assert await stored(database) == ["committed"]
        await kept[0].stop()


async def test_open_transaction_of_prepare_is_refused(sqlite_url: str):
    """A log that a reader still uses cannot be written back."""
    kept: list[sqlite3.Connection] = []

    async def prepare(database: Database) -> None:
        file = str(database.engine.url.database)
        kept.append(sqlite3.connect(file, isolation_level=None, check_same_thread=False))
        kept[0].execute("BEGIN")
        kept[0].execute("SELECT * FROM note").fetchall()
        await add_note(database)

    with pytest.raises(ConfigurationError, match=r"still in use.*open\. End it"):
        await DatabaseTemplate(sqlite_url, prepare, metadata=Base.metadata).__aenter__()
    kept[0].close()
    assert await left_over(sqlite_url) == []


async def test_own_file_is_not_touched_and_its_parameters_are_kept(sqlite_url: str):
    """The URL of the application may be used."""
    async with DatabaseTemplate(f"{sqlite_url}?timeout=1.5", metadata=Base.metadata) as template:
        async with template.database() as database:
            await add_note(database)
            assert "timeout=1.5" in str(
                database.settings and database.settings.url.get_secret_value()
            )
        async with template.copy() as copy:
            path = copy.get_secret_value().partition(":///")[2].partition("?")[0]
            with closing(sqlite3.connect(path.replace("%2F", "/"))) as connection:
                assert connection.execute("SELECT count(*) FROM note").fetchone() == (0,)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(sqlite_url.replace("sqlite:///", "file:") + "?mode=ro", uri=True)


async def test_slow_preparation_is_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Who waits learns for what."""
    monkeypatch.setattr(isolated_module, "_LOG_AFTER", 0.1)
    caplog.set_level(logging.INFO, "fastapi_asyncdb.testing.databases.isolated")

    async def prepare(database: Database) -> None:
        await asyncio.sleep(0.25)

    async with DatabaseTemplate(database_url, prepare) as template:
        name = repr(template).split()[1].rstrip(">")
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith(f"Still preparing {name}, for 0 s")
    assert messages[-1].startswith(f"The preparation of {name} took 0.")


async def test_template_that_is_not_prepared_says_so(database_url: str):
    """Before and after its block; and one block at a time."""
    template = DatabaseTemplate(database_url, metadata=MetaData())
    for _ in range(2):
        with pytest.raises(DatabaseNotStarted, match=r"not prepared.*'async with template:'"):
            await template.database().__aenter__()
        async with template:
            with pytest.raises(ConfigurationError, match="prepared already"):
                await template.__aenter__()
    assert await left_over(database_url) == []


def test_template_of_nothing_is_refused():
    """It would be an empty database, by mistake."""
    with pytest.raises(ConfigurationError, match=r"metadata=Base\.metadata, or an async function"):
        DatabaseTemplate("sqlite://")


# --- The application's handle ---------------------------------------------------------------------


async def test_application_runs_on_a_copy(database_url: str, tmp_path: Path):
    """Its DB alias, and a lifespan that brings settings of its own, see the copy alone."""
    own = tmp_path / "own.db"
    app = FastAPI(lifespan=create_lifespan(DatabaseSettings(url=f"sqlite:///{own}", pool_size=3)))

    @app.post("/")
    async def create(db: DB) -> list[str]:
        db.add(Note(text="request"))
        await db.flush()
        return list(await db.scalars(select(Note.text).order_by(Note.id)))

    async with DatabaseTemplate(database_url, add_note, metadata=Base.metadata) as template:
        for _ in range(2):
            async with isolated_database(default_database, template) as database:
                assert database is default_database
                async with running(app) as http:
                    assert (await http.post("/")).json() == ["seed", "request"]
                assert await stored(default_database) == ["seed", "request"]
            assert repr(default_database) == "<Database not started>"
    assert not own.exists()
    async with running(app):
        assert own.name in repr(default_database)
    assert await left_over(database_url) == []


async def test_everything_but_the_url_is_the_handles_own(database_url: str):
    """Its settings hold on the copy, or those that are given; afterwards it has its own again."""
    database = Database(DatabaseSettings(url="sqlite:///never.db", hold_warning=0))
    other = DatabaseSettings(url="sqlite:///never.db", hold_warning=7)
    async with DatabaseTemplate(database_url, metadata=Base.metadata) as template:
        async with isolated_database(database, template):
            assert runs_of(database).required().checkouts is None
        async with isolated_database(database, template, settings=other):
            assert runs_of(database).required().checkouts is not None
    assert database.settings is not None
    assert database.settings.url.get_secret_value() == "sqlite:///never.db"


async def test_settings_are_put_back_after_a_failure(database_url: str, sqlite_url: str):
    """The next test may use the handle."""
    database = Database(DatabaseSettings(url=sqlite_url))
    async with DatabaseTemplate(database_url, metadata=Base.metadata) as template:
        with pytest.raises(ZeroDivisionError):
            async with isolated_database(database, template):
                raise ZeroDivisionError
        async with database:
            assert "test.db" in repr(database)


async def test_running_handle_is_refused(database_url: str, sqlite_url: str):
    """It would go on with the database that it has."""
    async with DatabaseTemplate(database_url, metadata=Base.metadata) as template:
        async with Database(DatabaseSettings(url=sqlite_url)) as database:
            with pytest.raises(ConfigurationError, match=r"started.*has not ended.*stop it first"):
                await isolated_database(database, template).__aenter__()
        async with isolated_database(database, template):
            with pytest.raises(ConfigurationError, match="stop it first"):
                await isolated_database(database, template).__aenter__()
        assert len(await left_over(database_url)) == 1


async def test_handle_that_is_still_used_at_the_end_is_told(database_url: str, sqlite_url: str):
    """A lifespan that was entered and never left."""
    database = Database(DatabaseSettings(url=sqlite_url))
    async with DatabaseTemplate(database_url, metadata=Base.metadata) as template:
        with pytest.raises(ConfigurationError, match="stop it in the same block"):
            async with isolated_database(database, template):
                await database.start()
        await database.stop()
        assert len(await left_over(database_url)) == 1
