"""A password is in nothing that a failed request leaves: what loggers print of its frames included."""

import asyncio
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from fastapi import Depends, FastAPI, Request, Response
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Credentials, Database, DatabaseSettings
from fastapi_asyncdb.testing import PostgresServer
from tests.support.application import client, eventually
from tests.support.databases import execute
from tests.support.leaks import PASSWORD, leaks
from tests.support.tls_proxy import TLSProxy, tls_proxy

DRIVERS = ["asyncpg", "psycopg"]
# As text in a URL, and as a parameter of it.
FORMS = [
    "locked:{password}@{host}:{port}/postgres?",
    "{host}:{port}/postgres?user=locked&password={password}&",
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that asks one role for a password, over TCP."""
    with PostgresServer(hba="host all locked 127.0.0.1/32 scram-sha-256") as server:
        asyncio.run(
            execute(server.url(), f"CREATE ROLE locked SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
        )
        yield server


@dataclass
class Network:
    """What is between the application and the server, and what it needs."""

    proxy: TLSProxy
    server: PostgresServer
    authority: trustme.CA
    folder: Path

    def context(self, authority: trustme.CA) -> ssl.SSLContext:
        """Return what a server of that authority needs, which demands a certificate of the client."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        context.load_verify_locations(self.folder / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def certificates(self) -> str:
        """Write a client's certificate with an encrypted key, and return the parameters for it."""
        issued = self.authority.issue_cert("client.example.com")
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        encrypted = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode())
        )
        names = {"sslcert": "client.pem", "sslkey": "client.key", "sslrootcert": "ca.pem"}
        (self.folder / "client.pem").write_bytes(issued.cert_chain_pems[0].bytes())
        (self.folder / "client.key").write_bytes(encrypted)
        (self.folder / "client.key").chmod(0o600)
        files = "&".join(f"{name}={self.folder / file}" for name, file in names.items())
        return f"sslmode=verify-full&sslpassword={PASSWORD}&{files}"


@pytest.fixture
async def network(server: PostgresServer, tmp_path: Path) -> AsyncIterator[Network]:
    """A proxy in front of the server, in plain text at first."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with tls_proxy(server.port) as proxy:
        yield Network(proxy, server, authority, tmp_path)


def settings_for(network: Network, driver: str, form: str, query: str = "") -> DatabaseSettings:
    """Settings whose URL has the password, which is in no variable of a test."""
    host = "localhost" if query else "127.0.0.1"
    rest = form.format(password=PASSWORD, host=host, port=network.proxy.port)
    return DatabaseSettings(
        url=f"postgresql+{driver}://{rest}{query}",
        connect_timeout=1,
        pool_ping_idle=0,
        environment="production",
    )


async def failure_of_a_request(database: Database) -> BaseException:
    """Return the error of a request that needs one more connection."""
    app = FastAPI()
    errors: list[DBAPIError] = []

    @app.get("/")
    async def read(db: Annotated[AsyncSession, Depends(database.get_db)]) -> Any:
        return await db.scalar(text("SELECT 1"))

    @app.exception_handler(DBAPIError)
    async def keep(request: Request, error: DBAPIError) -> Response:
        errors.append(error)
        return Response(status_code=503)

    await _request(app)
    (error,) = errors
    return error


async def _request(app: FastAPI) -> None:
    async with client(app) as http:
        transport: Any = http._transport
        transport.raise_app_exceptions = True
        await http.get("/")


# --- What goes wrong ------------------------------------------------------------------------------

Fault = Callable[[Network], Awaitable[None]]


async def refused(network: Network) -> None:
    """Nothing listens any more."""
    assert network.proxy.server is not None
    network.proxy.server.close()


async def silent(network: Network) -> None:
    """New connections are accepted, and nothing is answered."""
    network.proxy.limit = 0


async def broken_off(network: Network) -> None:
    """The server falls silent in the middle of the login."""
    network.proxy.limit = 30


async def rotated(network: Network) -> None:
    """The server has another password now (28P01)."""
    await execute(network.server.url(), "ALTER ROLE locked PASSWORD 'another'")


@pytest.fixture(autouse=True)
def _rotate_back(server: PostgresServer) -> Iterator[None]:
    yield
    asyncio.run(execute(server.url(), f"ALTER ROLE locked PASSWORD '{PASSWORD}'"))


@pytest.mark.parametrize("form", FORMS, ids=["userinfo", "parameter"])
@pytest.mark.parametrize("fault", [refused, silent, broken_off, rotated])
@pytest.mark.parametrize("driver", DRIVERS)
async def test_connection_that_cannot_be_made_shows_no_password(
    driver: str, fault: Fault, form: str, network: Network
):
    """The error of a request has the driver's frames, without what was in them."""
    await assert_no_leak(Database(settings_for(network, driver, form)), driver, fault, network)


@pytest.mark.parametrize("fault", [refused, silent, broken_off, rotated])
@pytest.mark.parametrize("driver", DRIVERS)
async def test_password_of_a_function_is_not_shown(driver: str, fault: Fault, network: Network):
    """The same, where a function returns the password."""
    settings = settings_for(network, driver, FORMS[0].replace(":{password}", ""))
    database = Database(settings, password=lambda: Credentials(PASSWORD, expires_in=900))
    await assert_no_leak(database, driver, fault, network)


async def assert_no_leak(database: Database, driver: str, fault: Fault, network: Network) -> None:
    """Let a request fail that needs a connection, and look for the password in its error."""
    async with database, database.session() as session:
        await session.execute(text("SELECT 1"))
        await fault(network)
        error = await failure_of_a_request(database)
    assert not leaks(error)
    assert frames_of(error, driver)


def frames_of(error: BaseException, driver: str) -> list[str]:
    """Return the lines of the driver's frames, or of the library's that call it."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return [line for line in lines if line.lstrip().startswith("File ") and driver in line]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_untrusted_server_shows_no_password(driver: str, network: Network):
    """Neither the user's password nor that of the key, when the certificate was exchanged."""
    network.proxy.context = network.context(network.authority)
    database = Database(settings_for(network, driver, FORMS[0], network.certificates()))
    async with database, database.session() as session:
        await session.execute(text("SELECT 1"))
        network.proxy.context = network.context(trustme.CA())
        error = await failure_of_a_request(database)
    assert "certificate" in str(error)
    assert not leaks(error)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("cut", ["server", "network"])
async def test_lost_connection_shows_no_password(driver: str, cut: str, network: Network):
    """In the middle of a statement, ended by the server or by the network."""
    async with Database(settings_for(network, driver, FORMS[0])) as database:

        async def work() -> None:
            async with database.session() as session:
                await session.execute(text("SELECT pg_sleep(30)"))

        task = asyncio.create_task(work())
        await eventually(lambda: database.engine.pool.checkedout() == 1)  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)
        if cut == "server":
            await execute(
                network.server.url(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%sleep(30)'"
                " AND pid <> pg_backend_pid()",
            )
        else:
            await network.proxy.stop()
        with pytest.raises(DBAPIError) as caught:
            await task
    assert not leaks(caught.value)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_cancelled_connect_shows_no_password(driver: str, network: Network):
    """A request whose time is up while it connects, and the cancellation behind it."""
    database = Database(settings_for(network, driver, FORMS[0]))
    async with database, database.session() as session:
        await session.execute(text("SELECT 1"))
        await silent(network)
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.3), database.session() as another:
                await another.execute(text("SELECT 1"))
    assert not leaks(caught.value)


@pytest.mark.parametrize("driver", DRIVERS)
async def test_password_of_a_listener_is_not_shown(driver: str, network: Network):
    """SQLAlchemy's own way to passwords that change puts text into the arguments."""
    database = Database(settings_for(network, driver, FORMS[0]))
    async with database, database.session() as session:
        await session.execute(text("SELECT 1"))
        _supply_by_listener(database)
        await rotated(network)
        error = await failure_of_a_request(database)
    assert not leaks(error)


def _supply_by_listener(database: Database) -> None:
    @event.listens_for(database.engine.sync_engine, "do_connect")
    def supply(dialect: Any, record: Any, arguments: Any, options: dict[str, Any]) -> None:
        options["password"] = PASSWORD
