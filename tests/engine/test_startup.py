"""A start that cannot succeed: one error, with fact, cause and next step, and without the password."""

from __future__ import annotations

import asyncio
import gc
import re
import sqlite3
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psycopg.pq
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from sqlalchemy import text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ConfigurationError, DatabaseUnavailable, MissingExtra
from fastapi_asyncdb.testing import PostgresServer, postgres_server
from fastapi_asyncdb.testing.servers.folder import free_port
from tests.support.application import eventually
from tests.support.databases import execute
from tests.support.leaks import PASSWORD, leaks
from tests.support.tls_proxy import tls_proxy


@pytest.fixture
def server_port(server_url: str) -> int:
    """The TCP port of the server."""
    port = urlsplit(server_url).port
    assert port is not None
    return port


def settings_for(url: str, **options: Any) -> DatabaseSettings:
    """Settings that give up soon; the password is in them and in no variable of a test."""
    defaults = {"connect_timeout": 0.3, "startup_timeout": 0.3}
    return DatabaseSettings(url=url.replace("PASSWORD", PASSWORD), **(defaults | options))


async def refusal(settings: DatabaseSettings) -> DatabaseUnavailable:
    """Start and return the one error, after a look for the password in all that it carries."""
    with pytest.raises(DatabaseUnavailable) as caught:
        await Database(settings).start()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert not leaks(caught.value)
    return caught.value


async def answer(settings: DatabaseSettings) -> object:
    """Start, and ask the database for something."""
    async with Database(settings) as database, database.read_session() as session:
        return await session.scalar(text("SELECT 1"))


# --- PostgreSQL: what is wrong --------------------------------------------------------------------


@dataclass
class Bad:
    """A URL that cannot work, and what the error must say."""

    url: str
    words: tuple[str, ...]
    permanent: bool = False
    """Waiting cannot cure it: one attempt."""


BAD = {
    "nothing-listens": Bad("u:PASSWORD@127.0.0.1:FREE/app", ("refused", "start the server")),
    "unknown-host": Bad("u:PASSWORD@db.invalid/app", ("db.invalid", "host name is not known")),
    "no-socket": Bad("u:PASSWORD@/app?host=/no/such", ("No such file", "no such socket")),
    "no-database": Bad(
        "postgres:PASSWORD@127.0.0.1:PORT/nosuch", ('"nosuch" does not exist', "createdb"), True
    ),
    "no-role": Bad(
        "nosuch:PASSWORD@127.0.0.1:PORT/postgres", ('"nosuch" does not exist', "createuser"), True
    ),
    "no-tls": Bad(
        "postgres:PASSWORD@127.0.0.1:PORT/postgres?sslmode=require",
        ("SSL", "does not offer TLS", "sslmode=prefer"),
        True,
    ),
    "unknown-setting": Bad(
        "postgres:PASSWORD@127.0.0.1:PORT/postgres?options=-c%20nosuch%3D1",
        ('"nosuch"', "correct options"),
        True,
    ),
    "bad-value-of-a-setting": Bad(
        "postgres:PASSWORD@127.0.0.1:PORT/postgres?options=-c%20work_mem%3Dlots",
        ('"work_mem"', "correct options"),
        True,
    ),
    "no-standby": Bad(
        "postgres:PASSWORD@127.0.0.1:PORT/postgres?target_session_attrs=standby",
        ("standby", "target_session_attrs", "failover"),
    ),
    "all-hosts-down": Bad(
        "u:PASSWORD@127.0.0.1:FREE,localhost:FREE/app", ("refused", "start the server")
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_start_is_explained(driver: str, name: str, server_port: int) -> None:
    """One error with the fact, the cause and the next step; only what may pass is tried again."""
    bad = BAD[name]
    url = bad.url.replace("FREE", str(free_port())).replace("PORT", str(server_port))
    settings = settings_for(
        f"postgresql+{driver}://{url}",
        # Each gets an answer: of the name server, too, which may take its time.
        connect_timeout=20,
        # A permanent cause that were tried again would take this long.
        startup_timeout=60 if bad.permanent else 0.3,
    )
    error = await refusal(settings)
    message = str(error.args[0])
    for words in bad.words:
        assert words.lower() in message.lower()
    assert ("at the first attempt" in message) is bad.permanent
    assert message.startswith(f"Cannot connect to postgresql+{driver}://")
    assert message.endswith(".")
    assert ":***@" in message


@pytest.mark.parametrize(
    ("driver", "startup_timeout", "tries"),
    [("asyncpg", 1.0, r"after \d attempts"), ("psycopg", 0, "at the first attempt")],
)
async def test_host_that_never_answers_is_explained(
    driver: str, startup_timeout: float, tries: str, silent_port: int
) -> None:
    """A server that accepts and says nothing is tried again, one connect_timeout each."""
    url = f"postgresql+{driver}://u:PASSWORD@127.0.0.1:{silent_port}/app"
    message = str(await refusal(settings_for(url, startup_timeout=startup_timeout)))
    assert re.search(tries, message)
    assert "firewall" in message
    assert "DATABASE_CONNECT_TIMEOUT" in message


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    """A role that needs a password over TCP, on a server of its own; the URL, without the password."""
    with postgres_server(hba="host all locked 127.0.0.1/32 scram-sha-256") as server:
        asyncio.run(execute(server.url(), f"CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'"))
        yield f"locked:PASSWORD@127.0.0.1:{server.port}/postgres"


async def test_right_password_is_let_in(driver: str, locked: str) -> None:
    """The role of the next tests can log in."""
    assert await answer(settings_for(f"postgresql+{driver}://{locked}", connect_timeout=5)) == 1


@pytest.mark.parametrize("given", [":PASSWORDnot", ""])
async def test_wrong_password_fails_at_once(driver: str, locked: str, given: str) -> None:
    """A password does not get better by waiting; the message shows neither."""
    settings = settings_for(
        f"postgresql+{driver}://{locked.replace(':PASSWORD', given)}",
        startup_timeout=60,
        connect_timeout=5,
    )
    message = str(await refusal(settings))
    assert "at the first attempt" in message
    assert "User or password is wrong: correct the database settings" in message


async def test_full_server_is_waited_for() -> None:
    """At max_connections the message says which settings to lower; once one is free, start succeeds."""
    with PostgresServer(options={"max_connections": "4"}) as server:
        taken = [await asyncpg.connect(server.url()) for _ in range(4)]
        for driver in ("asyncpg", "psycopg"):
            url = server.url().replace("postgresql", f"postgresql+{driver}", 1)
            message = str(await refusal(settings_for(url, connect_timeout=5, startup_timeout=2)))
            assert "too many clients" in message
            assert "DATABASE_POOL_SIZE" in message
            assert "attempts" in message
        start = asyncio.create_task(answer(settings_for(server.url(), startup_timeout=20)))
        await asyncio.sleep(0.2)
        assert not start.done()
        await taken.pop().close()
        assert await start == 1
        for connection in taken:
            await connection.close()


async def test_silent_host_does_not_hide_the_next(
    driver: str, server_port: int, silent_port: int
) -> None:
    """Each of several hosts has the whole connect_timeout: a dead one is passed over."""
    hosts = f"127.0.0.1:{silent_port},127.0.0.1:{server_port}"
    settings = settings_for(f"postgresql+{driver}://postgres@{hosts}/postgres")
    assert await answer(settings) == 1


@pytest.mark.parametrize("attrs", ["any", "primary", "read-write", "prefer-standby"])
async def test_host_is_chosen_by_what_it_is(
    driver: str, attrs: str, server_port: int, silent_port: int
) -> None:
    """target_session_attrs picks among several hosts; prefer-standby takes a primary in the end."""
    hosts = f"127.0.0.1:{free_port()},127.0.0.1:{server_port}"
    url = f"postgresql+{driver}://postgres@{hosts}/postgres?target_session_attrs={attrs}"
    assert await answer(settings_for(url, connect_timeout=5)) == 1


async def test_connect_timeout_of_the_url_wins(silent_port: int) -> None:
    """Half a second in the URL beats the minute of the settings."""
    url = f"postgresql://u:PASSWORD@127.0.0.1:{silent_port}/app?connect_timeout=0.5"
    async with asyncio.timeout(10):
        await refusal(settings_for(url, connect_timeout=60, startup_timeout=0))


# --- Nothing is left behind -----------------------------------------------------------------------


# In the middle of the login; for asyncpg also behind it, where psycopg waits for long seconds.
@pytest.mark.parametrize(
    ("driver", "limit"), [("asyncpg", 1), ("asyncpg", 30), ("asyncpg", 700), ("psycopg", 30)]
)
async def test_attempt_that_breaks_off_leaves_no_connection(
    driver: str, limit: int, server_port: int
) -> None:
    """A server that falls silent in the middle costs one attempt, and the socket is closed."""
    async with tls_proxy(server_port, limit=limit) as proxy:
        url = f"postgresql+{driver}://postgres:PASSWORD@127.0.0.1:{proxy.port}/postgres"
        message = str(await refusal(settings_for(url, startup_timeout=0)))
        assert "DATABASE_CONNECT_TIMEOUT" in message
        await eventually(lambda: proxy.open_links == 0)
    # What was not awaited or not closed would warn now, and a warning is an error here.
    gc.collect()


async def test_start_that_is_cancelled_leaves_no_connection(driver: str, server_port: int) -> None:
    """A process that is stopped while it starts, stops."""
    async with tls_proxy(server_port, limit=30) as proxy:
        url = f"postgresql+{driver}://postgres:PASSWORD@127.0.0.1:{proxy.port}/postgres"
        database = Database(settings_for(url, connect_timeout=30))
        start = asyncio.create_task(database.start())
        await eventually(lambda: proxy.open_links == 1)
        await asyncio.sleep(0.1)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        del start
        # psycopg leaves its socket to the garbage collector, once the event loop has let go of it.
        await asyncio.sleep(0)
        gc.collect()
        await eventually(lambda: proxy.open_links == 0)
        assert "not started" in repr(database)
    gc.collect()


async def test_start_that_waits_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    """Seconds of silence look like a freeze: the first failed attempt is logged, with its cause."""
    url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{free_port()}/postgres"
    with pytest.raises(DatabaseUnavailable):
        await Database(settings_for(url)).start()
    (message,) = [
        r.getMessage() for r in caplog.records if r.name == "fastapi_asyncdb.engine.startup"
    ]
    assert "Cannot connect to postgresql" in message
    assert "Nothing listens there" in message
    assert "Trying for another" in message
    assert PASSWORD not in message


async def test_handle_may_be_started_after_a_failed_start(server_port: int) -> None:
    """A failed start leaves the handle as it was."""
    port = free_port()
    database = Database(settings_for(f"postgresql://postgres@127.0.0.1:{port}/postgres"))
    with pytest.raises(DatabaseUnavailable):
        await database.start()
    async with tls_proxy(server_port, port=port):
        await database.start()
        await database.stop()


# --- SQLite ---------------------------------------------------------------------------------------


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    """SQLite makes files and no folders; the message says which slash means what."""
    settings = settings_for(f"sqlite:///{tmp_path}/nosuch/app.db", startup_timeout=60)
    message = str(await refusal(settings))
    assert "at the first attempt" in message
    assert "nosuch/app.db" in message
    assert "folder" in message
    assert "three slashes" in message


async def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """Another file under that name is not overwritten, and not tried again."""
    (tmp_path / "app.db").write_text("These are notes, and more than sixteen bytes of them.")
    settings = settings_for(f"sqlite:///{tmp_path}/app.db", startup_timeout=60)
    message = str(await refusal(settings))
    assert "at the first attempt" in message
    assert "file is not a database" in message
    assert "correct the path" in message
    assert (tmp_path / "app.db").read_text().startswith("These are notes")


_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@pytest.fixture
async def holder(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that has the file app.db to itself until it reads a line."""
    sqlite3.connect(tmp_path / "app.db").close()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _HOLD, str(tmp_path / "app.db")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"locked\n"
    yield process
    if process.returncode is None:
        process.kill()
    await process.communicate()


@pytest.mark.parametrize("lock_timeout", [0.05, 1.5])
async def test_locked_file_is_explained(
    holder: asyncio.subprocess.Process, tmp_path: Path, lock_timeout: float
) -> None:
    """The message speaks of the other process, however long SQLite was told to wait itself."""
    url = f"sqlite:///{tmp_path}/app.db"
    threads = set(threading.enumerate())
    settings = settings_for(url, lock_timeout=lock_timeout, startup_timeout=1.0)
    message = str(await refusal(settings))
    # Each SQLite connection has a thread.
    await eventually(lambda: set(threading.enumerate()) <= threads)
    assert "database is locked" in message
    assert "Another process" in message
    assert ("attempts" in message) is (lock_timeout < 1)


async def test_locked_file_is_waited_for(
    holder: asyncio.subprocess.Process, tmp_path: Path
) -> None:
    """Start tries until the other process is done."""
    settings = settings_for(f"sqlite:///{tmp_path}/app.db", lock_timeout=0.05, startup_timeout=20)
    start = asyncio.create_task(answer(settings))
    await asyncio.sleep(0.3)
    assert not start.done()
    await holder.communicate(b"\n")
    assert await start == 1


# --- Drivers that are not there -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "module", "install"),
    [
        ("postgres://u:PASSWORD@db/app", "asyncpg", "'fastapi-asyncdb[postgresql]'"),
        ("postgresql+psycopg://u:PASSWORD@db/app", "psycopg", "'fastapi-asyncdb[psycopg]'"),
        ("sqlite:///app.db", "aiosqlite", "aiosqlite"),
    ],
)
async def test_missing_driver_comes_with_its_install_line(
    url: str, module: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message ends with the command to run."""
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra) as caught:
        await Database(settings_for(url)).start()
    assert f"The driver {module} is not installed" in str(caught.value)
    assert str(caught.value).endswith(f"pip install {install} (docs/errors.md#missing-extra)")
    assert not leaks(caught.value)


# --- TLS ------------------------------------------------------------------------------------------


@dataclass
class Authority:
    """A certificate authority, its file, and the file of another one."""

    own: trustme.CA
    file: Path
    strangers_file: Path

    def context(self, *names: str) -> ssl.SSLContext:
        """Return what a server of these names needs."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["postgresql"])
        self.own.issue_cert(*names).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that is unknown without its file."""
    folder = tmp_path_factory.mktemp("authority")
    made = Authority(trustme.CA(), folder / "ca.pem", folder / "stranger.pem")
    made.own.cert_pem.write_to_path(str(made.file))
    trustme.CA().cert_pem.write_to_path(str(made.strangers_file))
    return made


@pytest.fixture(autouse=True)
def _plain_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own certificates and libpq variables out of the tests."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


def tls_settings(driver: str, host: str, port: int, query: str) -> DatabaseSettings:
    """Settings for the proxy: a start that fails must do so at the first attempt."""
    url = f"postgresql+{driver}://postgres:PASSWORD@{host}:{port}/postgres?{query}"
    return settings_for(url, connect_timeout=5, startup_timeout=60)


@pytest.mark.parametrize(
    ("host", "query"),
    [
        ("localhost", "sslmode=verify-full&sslrootcert=OWN"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert=OWN"),
        ("127.0.0.1", "sslmode=require&sslrootcert=OWN"),
        ("127.0.0.1", "sslmode=require"),
        ("127.0.0.1", "sslmode=prefer"),
        ("127.0.0.1", "ssl=true"),
        ("127.0.0.1", ""),
    ],
)
async def test_tls_connects_where_libpq_connects(
    driver: str, host: str, query: str, authority: Authority, server_port: int
) -> None:
    """The certificate for localhost satisfies each mode that it should, and all is encrypted."""
    async with tls_proxy(server_port, authority.context("localhost")) as proxy:
        settings = tls_settings(driver, host, proxy.port, files(query, authority))
        assert await answer(settings) == 1
        assert len(proxy.protocols) >= 1


@pytest.mark.parametrize("query", ["sslmode=disable", "sslmode=allow"])
async def test_tls_is_not_used_unasked(
    driver: str, query: str, authority: Authority, server_port: int
) -> None:
    """Two modes prefer plain text, also if there is TLS."""
    async with tls_proxy(server_port, authority.context("localhost")) as proxy:
        assert await answer(tls_settings(driver, "localhost", proxy.port, query)) == 1
        assert proxy.protocols == []


_NAME = ("another host name", "sslmode=verify-ca")
_TRUST = ("not trusted", "sslrootcert=FILE")


@pytest.mark.parametrize(
    ("host", "query", "words"),
    [
        ("127.0.0.1", "sslmode=verify-full&sslrootcert=OWN", _NAME),
        ("localhost", "sslmode=verify-full&sslrootcert=STRANGER", _TRUST),
        ("localhost", "sslmode=verify-ca&sslrootcert=STRANGER", _TRUST),
        ("localhost", "sslmode=require&sslrootcert=STRANGER", _TRUST),
        ("localhost", "sslmode=verify-full", _TRUST),
    ],
)
async def test_tls_refuses_whom_libpq_refuses(
    driver: str,
    host: str,
    query: str,
    words: tuple[str, ...],
    authority: Authority,
    server_port: int,
) -> None:
    """Another authority, or another name under verify-full, is refused at once and explained."""
    async with tls_proxy(server_port, authority.context("localhost")) as proxy:
        settings = tls_settings(driver, host, proxy.port, files(query, authority))
        message = str(await refusal(settings))
    assert "at the first attempt" in message
    for part in words:
        assert part in message


@pytest.mark.parametrize("where", ["SSL_CERT_FILE", "PGSSLROOTCERT", "root.crt"])
async def test_authority_is_found_where_libpq_and_openssl_look(
    driver: str,
    where: str,
    authority: Authority,
    server_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without sslrootcert: libpq's variable, its file in the home folder, else the system's own."""
    if where == "root.crt":
        (tmp_path / ".postgresql").mkdir()
        (tmp_path / ".postgresql" / where).write_bytes(authority.file.read_bytes())
    else:
        monkeypatch.setenv(where, str(authority.file))
    async with tls_proxy(server_port, authority.context("localhost")) as proxy:
        settings = tls_settings(driver, "localhost", proxy.port, "sslmode=verify-full")
        assert await answer(settings) == 1


async def test_libpq_variable_counts_where_the_url_says_nothing(
    driver: str, server_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGSSLMODE=require is not undone by a URL without sslmode."""
    monkeypatch.setenv("PGSSLMODE", "require")
    message = str(await refusal(tls_settings(driver, "127.0.0.1", server_port, "")))
    assert "does not offer TLS" in message


async def test_system_authorities_need_a_host_name(
    driver: str, authority: Authority, server_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """verify-ca without an authority of one's own would trust every certificate that is sold."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with tls_proxy(server_port, authority.context("localhost")) as proxy:
        database = Database(tls_settings(driver, "localhost", proxy.port, "sslmode=verify-ca"))
        with pytest.raises((ConfigurationError, DatabaseUnavailable)) as caught:
            await database.start()
    assert "sslrootcert" in str(caught.value)
    assert not leaks(caught.value)


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert"])
@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_certificate_that_cannot_be_loaded_is_named(
    name: str, content: str | None, server_port: int, tmp_path: Path
) -> None:
    """A missing or mangled file is a mistake in the configuration, with its path."""
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_text(content)
    query = f"sslmode={'verify-full' if name == 'sslrootcert' else 'require'}&{name}={file}"
    with pytest.raises(ConfigurationError, match=f"{name}={file}") as caught:
        await Database(tls_settings("asyncpg", "127.0.0.1", server_port, query)).start()
    assert not leaks(caught.value)


async def test_direct_tls_skips_the_request(
    driver: str, authority: Authority, server_port: int
) -> None:
    """sslnegotiation=direct begins with TLS, and offers the protocol that PostgreSQL 17 demands."""
    if driver == "psycopg" and psycopg.pq.version() < 170000:
        pytest.skip("this libpq is older than direct TLS")
    query = files("sslmode=verify-full&sslnegotiation=direct&sslrootcert=OWN", authority)
    async with tls_proxy(server_port, authority.context("localhost"), direct=True) as proxy:
        assert await answer(tls_settings(driver, "localhost", proxy.port, query)) == 1
        assert set(proxy.protocols) == {"postgresql"}


@dataclass
class ClientCertificate:
    """Files of a client's certificate and of its encrypted key."""

    cert: Path
    key: Path


@pytest.fixture
def client_certificate(authority: Authority, tmp_path: Path) -> ClientCertificate:
    """A certificate for a client, its key encrypted with the password."""
    issued = authority.own.issue_cert("client.example.com")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    made = ClientCertificate(tmp_path / "client.pem", tmp_path / "client.key")
    made.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    made.key.write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode())
        )
    )
    made.key.chmod(0o600)
    return made


@pytest.mark.parametrize("right", [True, False])
async def test_client_certificate_is_shown(
    driver: str,
    right: bool,
    authority: Authority,
    client_certificate: ClientCertificate,
    server_port: int,
) -> None:
    """A server that demands a certificate gets it; a wrong password of its key is explained."""
    context = authority.context("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.file)
    query = f"sslmode=require&sslcert={client_certificate.cert}&sslkey={client_certificate.key}"
    async with tls_proxy(server_port, context) as proxy:
        password = "PASSWORD" if right else "wrong"
        settings = tls_settings(driver, "localhost", proxy.port, f"{query}&sslpassword={password}")
        if right:
            assert await answer(settings) == 1
        else:
            with pytest.raises((ConfigurationError, DatabaseUnavailable)) as caught:
                await Database(settings).start()
            assert "sslkey" in str(caught.value)
            assert "at the first attempt" in str(caught.value) or driver == "asyncpg"
            assert not leaks(caught.value)


def files(query: str, authority: Authority) -> str:
    """Fill in the paths."""
    return query.replace("OWN", str(authority.file)).replace(
        "STRANGER", str(authority.strangers_file)
    )


async def test_failed_connect_leaves_no_thread(tmp_path: Path):
    """Aiosqlite's thread has spoken to the event loop for the last time, which may be closed now."""
    before = set(threading.enumerate())
    with pytest.raises(DatabaseUnavailable):
        await Database(DatabaseSettings(url=f"sqlite:///{tmp_path / 'missing' / 'app.db'}")).start()
    left = set(threading.enumerate()) - before
    # asyncio's own are those of its executor.
    assert [thread.name for thread in left if not thread.name.startswith("asyncio_")] == []
