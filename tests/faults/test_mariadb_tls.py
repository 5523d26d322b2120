"""TLS to a real MariaDB: each mode with each driver, and passwords that no error shows."""

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import trustme
from sqlalchemy import text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import DatabaseUnavailable, InsecureConnectionError
from fastapi_asyncdb.testing.servers.mariadb import MariaDBServer, has_mariadb, mariadb_server
from tests.support.databases import MYSQL_DRIVERS
from tests.support.kept_mysql_tables import connect
from tests.support.leaks import PASSWORD, leaks

pytestmark = pytest.mark.skipif(not has_mariadb(), reason="apt-get install mariadb-server")

LATIN, OTHERS = "pässwörd", "пароль€日本"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of a server and a client, their authority, and another one."""
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
    for name in ("localhost", "client"):
        issued = authority.issue_cert(name)
        issued.private_key_pem.write_to_path(str(folder / f"{name}.key"))
        issued.cert_chain_pems[0].write_to_path(str(folder / f"{name}.pem"))
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[MariaDBServer]:
    """A server that offers TLS, with users whose passwords are hard."""
    options = {
        "ssl-ca": str(folder / "ca.pem"),
        "ssl-cert": str(folder / "localhost.pem"),
        "ssl-key": str(folder / "localhost.key"),
    }
    with mariadb_server(options=options) as server, closing(connect(server.url())) as connection:
        for name, how in {
            "latin": f"IDENTIFIED BY '{LATIN}'",
            "others": f"IDENTIFIED BY '{OTHERS}'",
            "certified": "REQUIRE X509",
        }.items():
            connection.cursor().execute(f"CREATE USER {name}@'%' {how}")
            connection.cursor().execute(f"GRANT ALL ON test.* TO {name}@'%'")
        yield server


@pytest.fixture(params=MYSQL_DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver for MariaDB."""
    name: str = request.param
    return name


def settings_of(
    driver: str,
    port: int,
    query: str,
    *,
    user: str = "latin",
    password: str = LATIN,
    **options: Any,
) -> DatabaseSettings:
    """Settings for a server of this machine, by the name in its certificate."""
    host = options.pop("host", "localhost")
    url = f"mysql+{driver}://{user}:{quote(password)}@{host}:{port}/test?{query}"
    return DatabaseSettings(url=url, startup_timeout=0, connect_timeout=5, **options)


async def cipher(settings: DatabaseSettings) -> str:
    """Connect, and return what the server says of TLS; none is an empty text."""
    async with Database(settings) as database, database.read_session() as session:
        [(_, value)] = (await session.execute(text("SHOW STATUS LIKE 'Ssl_cipher'"))).all()
        return str(value)


@pytest.mark.parametrize(
    ("query", "encrypted"),
    [
        ("", True),
        ("ssl-mode=DISABLED", False),
        ("ssl-mode=REQUIRED", True),
        ("ssl-mode=VERIFY_CA&ssl-ca={folder}/ca.pem", True),
        ("ssl-mode=VERIFY_IDENTITY&ssl-ca={folder}/ca.pem", True),
    ],
)
async def test_mode_of_the_url(
    server: MariaDBServer, driver: str, folder: Path, query: str, *, encrypted: bool
):
    """What the URL says is what the server sees."""
    found = await cipher(settings_of(driver, server.port, query.format(folder=folder)))
    assert bool(found) is encrypted


@pytest.mark.parametrize(
    ("host", "query", "words"),
    [
        ("localhost", "ssl-mode=VERIFY_CA&ssl-ca={folder}/other.pem", "name its authority"),
        ("127.0.0.1", "ssl-mode=VERIFY_IDENTITY&ssl-ca={folder}/ca.pem", "another host name"),
    ],
)
async def test_server_that_is_not_trusted(
    server: MariaDBServer, driver: str, folder: Path, host: str, query: str, words: str
):
    """The authority is another one, or the name is; the password is not shown."""
    settings = settings_of(driver, server.port, query.format(folder=folder), host=host)
    with pytest.raises(DatabaseUnavailable, match=words) as caught:
        await cipher(settings)
    assert LATIN not in str(caught.value)


async def test_server_without_tls_gets_no_password(driver: str, mysql_server_url: str):
    """It is refused by its greeting; preferred TLS goes on without it."""
    port = urlsplit(mysql_server_url).port or 3306
    with pytest.raises(DatabaseUnavailable, match="does not offer TLS"):
        await cipher(settings_of(driver, port, "ssl-mode=REQUIRED", user="root", password=""))
    assert await cipher(settings_of(driver, port, "", user="root", password="")) == ""


async def test_certificate_of_a_client(server: MariaDBServer, driver: str, folder: Path):
    """The user has no password, and is who the certificate says."""
    query = f"ssl-mode=REQUIRED&ssl-cert={folder}/client.pem&ssl-key={folder}/client.key"
    settings = settings_of(driver, server.port, query, user="certified", password="")
    assert await cipher(settings)
    with pytest.raises(DatabaseUnavailable, match="1045"):
        await cipher(
            settings_of(driver, server.port, "ssl-mode=REQUIRED", user="certified", password="")
        )


@pytest.mark.parametrize("query", ["ssl-mode=DISABLED", "ssl-mode=REQUIRED"])
async def test_password_of_any_characters(server: MariaDBServer, driver: str, query: str):
    """UTF-8, as the server stores them, although both drivers send Latin-1."""
    await cipher(settings_of(driver, server.port, query, user="others", password=OTHERS))


async def test_refused_password_is_not_shown(server: MariaDBServer, driver: str):
    """Neither in the message nor in a frame of the driver's, or of ours."""
    with pytest.raises(DatabaseUnavailable, match="User or password is wrong") as caught:
        await cipher(settings_of(driver, server.port, "", password=PASSWORD))
    assert not leaks(caught.value)


async def test_unverified_server_is_refused_in_production(driver: str):
    """On another host; nothing is sent there."""
    settings = settings_of(
        driver, 3306, "ssl-mode=REQUIRED", host="db.example.com", environment="production"
    )
    with pytest.raises(InsecureConnectionError, match="ssl-mode=VERIFY_IDENTITY"):
        await Database(settings).start()


@pytest.mark.parametrize("query", ["ssl-mode=DISABLED", "ssl-mode=REQUIRED"])
async def test_socket_notices_a_dead_peer(server: MariaDBServer, driver: str, query: str):
    """DATABASE_TCP_KEEPALIVE is set on the socket, which TLS makes anew."""
    settings = settings_of(driver, server.port, query, tcp_keepalive=12)
    async with Database(settings) as database, database.engine.connect() as connection:
        raw: Any = await connection.get_raw_connection()
        tcp = raw.driver_connection.transport.get_extra_info("socket")
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 4
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_000
