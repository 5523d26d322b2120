"""``MongoDatabase``: settings, start, stop, lifespans, health, overrides, imports."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pymongo import AsyncMongoClient

from fastapi_asyncdb import (
    Database,
    DatabaseSettings,
    create_lifespan,
    default_database,
    health_router,
)
from fastapi_asyncdb.errors import (
    CannotConnect,
    ConfigurationError,
    DatabaseNotStarted,
    DatabaseUnavailable,
    InsecureConnectionError,
    InvalidDatabaseURL,
)
from fastapi_asyncdb.extras.mongo import (
    Mongo,
    MongoDatabase,
    MongoRepository,
    MongoSettings,
    MongoTransaction,
    create_mongo_lifespan,
    default_mongo,
    mongo_lifespan,
    mongo_override,
)
from fastapi_asyncdb.extras.mongo.run import create_run
from fastapi_asyncdb.extras.mongo.target import target_of
from fastapi_asyncdb.testing import async_client
from tests.extras.mongo.library import Author
from tests.support.application import client
from tests.support.leaks import PASSWORD, leaks
from tests.support.mongo_wire import MongoWire

# PyMongo leaves a socket to the garbage collector when its task is cancelled while it connects.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

ROOT = Path(__file__).parents[3]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    """With the prefix MONGO_; ``none`` is None."""
    monkeypatch.setenv("MONGO_URL", "mongodb://db.example/shop")
    monkeypatch.setenv("MONGO_OPERATION_TIMEOUT", "none")
    settings = MongoSettings()
    assert (repr(target_of(settings)), settings.operation_timeout) == (
        "db.example:27017/shop",
        None,
    )
    monkeypatch.setenv("MONGO_DATABASE", "other")
    assert target_of(MongoSettings()).database == "other"
    assert target_of(MongoSettings(url="mongodb://localhost", database=None)).database == "app"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "postgresql://localhost"}, "url: is no MongoDB URL"),
        ({"database": "a.b"}, "database: has a character"),
        ({"pool_size": 0}, "pool_size: "),
        ({"connect_timeout": 0}, "connect_timeout: "),
    ],
)
def test_wrong_settings(values: Any, message: str):
    """One message, with the name of the argument."""
    with pytest.raises(ConfigurationError, match=f"The MongoDB settings are wrong: {message}"):
        MongoSettings(**values)
    with pytest.raises(TypeError, match="MongoSettings has no field uri"):
        MongoSettings(uri="x")


def with_password(template: str) -> MongoSettings:
    """Return settings whose URL no frame of the test has."""
    return MongoSettings(url=template.replace("PASSWORD", PASSWORD))


@pytest.mark.parametrize(
    "template",
    [
        "mongodb://user:PASSWORD@@localhost",
        "mongodb://user:PASSWORD/x@localhost",
        "mongodb://user:PASSWORD:1:2@localhost",
        "mongodb://user:x@localhost:PASSWORD",
        "mongodb://user:PASSWORD@localhost:port",
    ],
)
def test_url_that_cannot_be_parsed_stays_secret(template: str):
    """The driver's message may have a part of the password."""
    settings = with_password(template)
    with pytest.raises(InvalidDatabaseURL, match="percent-encoded") as raised:
        target_of(settings)
    assert leaks(raised.value) == []


def test_options_that_pymongo_does_not_know_are_refused():
    """A misspelt one may be the one that asks for TLS."""
    for option in ("tsl=true", "tls=perhaps"):
        with pytest.raises(InvalidDatabaseURL):
            target_of(MongoSettings(url=f"mongodb://localhost/?{option}"))


async def test_wrong_password_and_repr_stay_secret(
    unused_port: int, caplog: pytest.LogCaptureFixture
):
    """In errors, frames, logs and representations."""
    settings = MongoSettings(
        url=f"mongodb://user:{PASSWORD}@127.0.0.1:{unused_port}",
        startup_timeout=0.3,
        connect_timeout=0.2,
        server_selection_timeout=0.2,
    )
    mongo = MongoDatabase(settings)
    with pytest.raises(DatabaseUnavailable, match=r"is not available: .*127\.0\.0\.1") as raised:
        await mongo.start()
    assert leaks(raised.value) == []
    assert repr(mongo) == "<MongoDatabase not started>"
    await mongo.start(require_connection=False)
    async with mongo.session() as session:
        shown = (mongo, session, settings, mongo._run(), session.run.target, caplog.text)
        assert PASSWORD not in repr(shown)
        assert "Started without a connection to MongoDB" in caplog.text
    await mongo.stop()


@pytest.mark.parametrize(
    ("url", "refused"),
    [
        ("mongodb://localhost", False),
        ("mongodb://127.0.0.1,[::1]", False),
        ("mongodb://db.example", True),
        ("mongodb://localhost,db.example", True),
        ("mongodb://db.example/?tls=true", False),
        ("mongodb+srv://db.example", False),
        ("mongodb+srv://db.example/?tls=false", True),
        ("mongodb://db.example/?tls=true&tlsAllowInvalidCertificates=true", True),
        ("mongodb://db.example/?tls=true&tlsAllowInvalidHostnames=true", True),
        ("mongodb://db.example/?tls=true&tlsInsecure=true", True),
    ],
)
def test_production_verifies_tls(url: str, refused: bool):
    """To another host; development does not ask."""
    target_of(MongoSettings(url=url))
    production = MongoSettings(url=url, environment="production")
    if refused:
        with pytest.raises(InsecureConnectionError, match="tls=true"):
            target_of(production)
    else:
        target_of(production)


async def test_options_of_the_url_come_first():
    """The others are the settings', in PyMongo's units."""
    run = create_run(MongoSettings(url="mongodb://localhost/?maxPoolSize=7", pool_timeout=2))
    options = run.client.options.pool_options
    assert (options.max_pool_size, options.wait_queue_timeout, options.connect_timeout) == (7, 2, 5)
    assert options.socket_timeout == 35
    await run.client.close()


async def test_use_before_the_start_and_after_the_stop(settings: MongoSettings):
    """An error that says what is missing; nothing is read or opened before."""
    mongo = MongoDatabase(settings)
    for _ in range(2):
        async with mongo.session() as session:
            with pytest.raises(DatabaseNotStarted, match="FastAPI\\(lifespan=mongo_lifespan\\)"):
                await MongoRepository[Author](session).count()
        with pytest.raises(DatabaseNotStarted):
            await mongo.ping()
        async with mongo:
            assert repr(mongo) == f"<MongoDatabase started on {target_of(settings)!r}>"
            assert isinstance(mongo.client, AsyncMongoClient)
            async with mongo:
                pass
            assert await mongo.ping() < 5


def test_several_event_loops(settings: MongoSettings):
    """Each has a client of its own."""
    mongo = MongoDatabase(settings)

    async def run() -> int:
        async with mongo, mongo.session() as session:
            return await MongoRepository[Author](session).count()

    assert [asyncio.run(run()) for _ in range(2)] == [0, 0]


async def test_start_waits_for_the_server(wire: MongoWire, caplog: pytest.LogCaptureFixture):
    """With a growing pause, and one warning."""
    wire.refuse()
    settings = MongoSettings(url=wire.url, connect_timeout=0.3, server_selection_timeout=0.2)
    mongo = MongoDatabase(settings)
    start = asyncio.create_task(mongo.start())
    async with asyncio.timeout(20):
        while "Cannot connect to MongoDB" not in caplog.text:
            await asyncio.sleep(0.01)
    wire.listen()
    await start
    assert await mongo.ping() < 5
    await mongo.stop()


async def test_wrong_password_is_not_tried_again(wire: MongoWire):
    """Waiting does not cure it."""
    wire.add("ping", "fail", times=1000, code=18)
    with pytest.raises(DatabaseUnavailable, match="is not available"):
        await MongoDatabase(MongoSettings(url=wire.url)).start()
    assert wire.commands.count("ping") == 1


async def test_refused_login_stays_secret(wire: MongoWire):
    """The driver keeps the password in the frames of the handshake."""
    wire.add("saslStart", "fail", times=1000, code=18)
    settings = with_password(wire.url.replace("mongodb://", "mongodb://user:PASSWORD@"))
    mongo = MongoDatabase(settings)
    with pytest.raises(DatabaseUnavailable, match="is not available") as raised:
        await mongo.start()
    assert leaks(raised.value) == []
    await mongo.start(require_connection=False)
    with pytest.raises(CannotConnect, match="refuses the user or the password") as refused:
        async with mongo.session() as session:
            await MongoRepository[Author](session).count()
    assert leaks(refused.value) == []
    await mongo.stop()


async def test_lifespans_together(settings: MongoSettings, sqlite_url: str):
    """Either may be the outer one; the state of the inner one arrives."""
    for lifespan in (
        create_lifespan(DatabaseSettings(url=sqlite_url), lifespan=mongo_lifespan),
        create_mongo_lifespan(
            settings, models=[Author], lifespan=create_lifespan(DatabaseSettings(url=sqlite_url))
        ),
    ):
        default_mongo.settings = settings
        app = FastAPI(lifespan=lifespan)
        app.include_router(health_router(default_database, default_mongo))

        @app.get("/")
        async def count(session: Mongo) -> int:
            return await MongoRepository[Author](session).count()

        async with async_client(app) as http:
            assert (await http.get("/")).json() == 0
            assert (await http.get("/health/ready")).status_code == 200
        default_mongo.settings, default_mongo.models = None, ()
    with pytest.raises(DatabaseNotStarted):
        await default_mongo.ping()


async def test_health_of_a_server_that_is_away(wire: MongoWire, sqlite_url: str):
    """Not ready, with the cause in the log; alive; ready again when it is back."""
    settings = MongoSettings(url=wire.url, server_selection_timeout=0.2)
    async with MongoDatabase(settings) as mongo, Database(DatabaseSettings(url=sqlite_url)) as sql:
        app = FastAPI()
        app.include_router(health_router(mongo, sql, timeout=5))
        async with client(app) as http:
            assert (await http.get("/health/ready")).status_code == 200
            wire.refuse()
            assert (await http.get("/health/ready")).status_code == 503
            assert (await http.get("/health/live")).status_code == 200
            wire.listen()
            async with asyncio.timeout(20):
                while (await http.get("/health/ready")).status_code != 200:
                    await asyncio.sleep(0.05)


async def test_override_in_tests(mongo: MongoDatabase):
    """All requests use the test's session, which is rolled back in the end."""
    app = FastAPI()

    @app.post("/")
    async def create(session: MongoTransaction) -> None:
        await MongoRepository[Author](session).create(name="Ada", email="ada")

    @app.get("/")
    async def count(session: Mongo) -> int:
        return await MongoRepository[Author](session).count()

    @app.get("/missing")
    async def missing(session: Mongo) -> None:
        await MongoRepository[Author](session).get_or_raise("x")

    before = dict(app.dependency_overrides)
    with pytest.raises(ZeroDivisionError):
        async with mongo.transaction() as session:
            with mongo_override(app, session):
                async with client(app) as http:
                    await http.post("/")
                    assert (await http.get("/")).json() == 1
                    assert (await http.get("/missing")).status_code == 404
            raise ZeroDivisionError
    assert app.dependency_overrides == before
    async with mongo.session() as session:
        assert await MongoRepository[Author](session).count() == 0


def test_imports():
    """The core imports no PyMongo; without it one error has the command; with it no setting is read."""
    script = """
import os, sys
os.environ["MONGO_URL"] = "nonsense"
from fastapi_asyncdb import *
from fastapi_asyncdb.errors import MissingExtra
assert "pymongo" not in sys.modules and "bson" not in sys.modules
sys.modules["pymongo"] = None
try:
    import fastapi_asyncdb.extras.mongo
except MissingExtra as error:
    assert isinstance(error, ImportError)
    print(error)
del sys.modules["pymongo"]
import fastapi_asyncdb.extras.mongo as mongo
print(mongo.default_mongo)
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    message, shown = run.stdout.splitlines()
    assert 'pip install "fastapi-asyncdb[mongo]"' in message
    assert shown == "<MongoDatabase not started>"
