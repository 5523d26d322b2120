"""Private MariaDB servers: they start, fail, are killed, and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, make_url

from fastapi_asyncdb.errors import DatabaseUnavailable, MissingExtra
from fastapi_asyncdb.testing import MariaDBServer, given_server, mariadb_server
from fastapi_asyncdb.testing.servers import mariadb
from fastapi_asyncdb.testing.servers.folder import until
from tests.support.kept_mysql_tables import KeptMySQLTables, connect, mysql_database
from tests.testing.test_servers import folders, left_in

__all__ = ["folders"]

pytestmark = pytest.mark.skipif(
    not mariadb.has_mariadb(), reason="MariaDB is not installed: apt-get install mariadb-server"
)


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    """A server for those who leave it running."""
    with mariadb_server() as server:
        yield server


def ask(url: str, sql: str) -> object:
    """Run one statement on a connection of its own, and return its first value."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
        return row[0] if row else None


# --- Life -----------------------------------------------------------------------------------------


def test_it_answers_over_tcp_and_the_socket(server: MariaDBServer):
    """Both URLs lead to the same server, and names in them are quoted."""
    ask(server.url(), "CREATE DATABASE `a/b`")
    ask(server.url(), "CREATE USER 'c@d'@'%'")
    ask(server.url(), "GRANT ALL ON `a/b`.* TO 'c@d'@'%'")
    assert ask(server.url("a/b", "c@d"), "SELECT DATABASE()") == "a/b"
    url = make_url(server.socket_url("a/b"))
    place = str(url.query["unix_socket"])
    with closing(pymysql.connect(unix_socket=place, user=url.username)) as connection:
        assert str(ask(server.url(), "SELECT VERSION()")) in connection.get_server_info()


def test_only_this_machine_can_connect_and_text_is_unicode(server: MariaDBServer):
    """It has no password, so it listens on the loopback; its databases store every character."""
    assert ask(server.url(), "SELECT @@bind_address") == "127.0.0.1"
    assert ask(server.url(), "SELECT @@character_set_database") == "utf8mb4"


def test_no_other_server_deletes_its_temporary_tables(server: MariaDBServer):
    """A server that starts deletes those of its folder, which is /tmp by default."""
    assert ask(server.url(), "SELECT @@tmpdir") == str(server.data.parent / "tmp")


def test_repr_shows_the_state(folders: Path):
    """What is looked at in a debugger tells what it is doing."""
    server = MariaDBServer()
    assert repr(server) == f"<MariaDBServer 127.0.0.1:{server.port} not started>"
    with server:
        assert repr(server).endswith(" running>")
        server.kill()
        assert repr(server).endswith(" stopped>")
    assert repr(server).endswith(" not started>")
    assert left_in(folders) == []


def test_stopped_server_starts_again_with_its_data(server: MariaDBServer):
    """The URL stays good over a restart, and stopping or starting twice does nothing."""
    ask(server.url(), "CREATE TABLE kept AS SELECT 1 AS x")
    server.stop()
    server.stop()
    with pytest.raises(pymysql.OperationalError):
        ask(server.url(), "SELECT 1")
    server.start()
    server.start()
    assert ask(server.url(), "SELECT x FROM kept") == 1
    server.restart()
    assert ask(server.url(), "SELECT x FROM kept") == 1


def test_killed_server_recovers_what_was_committed(server: MariaDBServer):
    """A commit that was acknowledged is there, and what was not committed is not."""
    ask(server.url(), "CREATE TABLE committed (x INT)")
    with closing(connect(server.url())) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO committed VALUES (1); START TRANSACTION")
        cursor.execute("INSERT INTO committed VALUES (2)")
        server.kill()
    server.kill()
    server.start()
    assert ask(server.url(), "SELECT SUM(x) FROM committed") == 1


def test_wait_returns_when_it_answers_and_gives_up_in_time(folders: Path):
    """A server that was stopped does not answer."""
    with mariadb_server() as server:
        server.wait(timeout=5)
        server.stop()
        with pytest.raises(TimeoutError, match=r"does not answer within 0\.1 s.*start\(\) it"):
            server.wait(timeout=0.1)


def test_options_win_over_those_of_the_kit(folders: Path):
    """A test that needs a small server gets one; the place of its folder is the test's choice too."""
    (folders / "here").mkdir()
    with mariadb_server(options={"max_connections": "12"}, folder=folders / "here") as server:
        assert ask(server.url(), "SELECT @@max_connections") == 12
        assert server.data.is_relative_to(folders / "here")


# --- Nothing is left behind -----------------------------------------------------------------------


def test_owner_that_is_killed_leaves_nothing(folders: Path):
    """When the time of a CI is over, it kills the run and all its processes at once."""
    code = (
        "from fastapi_asyncdb.testing import mariadb_server\n"
        "with mariadb_server():\n    print('up', flush=True)\n    input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        (sys.executable, "-c", code), stdin=pipe, stdout=pipe, start_new_session=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        assert left_in(folders) != []
        os.killpg(owner.pid, signal.SIGKILL)
    until(lambda: not left_in(folders), 30, "Something is left.")


# --- What fails -----------------------------------------------------------------------------------


def test_missing_program_is_named_with_its_package(folders: Path, monkeypatch: pytest.MonkeyPatch):
    """The message says what to install, and nothing is left of the attempt."""
    monkeypatch.setattr(mariadb, "_PATH", str(folders))
    with pytest.raises(MissingExtra, match=r"mariadb-install-db.*apt-get install mariadb-server"):
        MariaDBServer().start()
    assert left_in(folders) == []


def test_wrong_option_is_an_error_with_the_words_of_the_server(folders: Path):
    """The program that makes the data folder reads the options too."""
    with (
        pytest.raises(
            DatabaseUnavailable, match=r"no data folder.*unknown variable.*no_such_option"
        ),
        mariadb_server(options={"no_such_option": "1"}),
    ):
        pass
    assert left_in(folders) == []


def test_port_that_was_taken_meanwhile_is_replaced(folders: Path):
    """Another process may listen on it between the look for a free one and the start."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = MariaDBServer()
        server.port = taken.getsockname()[1]
        with server:
            assert server.port != taken.getsockname()[1]
            assert ask(server.url(), "SELECT @@port") == server.port


def test_server_without_a_folder_says_so():
    """Before the start and after the end there is no data."""
    with pytest.raises(DatabaseUnavailable, match=r"has no folder.*mariadb_server"):
        _ = MariaDBServer().data


@pytest.mark.parametrize("scheme", ["mysql", "mariadb", "mysql+aiomysql"])
def test_given_server_may_be_one_of_mysql(scheme: str, monkeypatch: pytest.MonkeyPatch):
    """Any name of a variable can hold it."""
    monkeypatch.setenv("TEST_MYSQL_URL", f"{scheme}://u@db.example/app_test")
    assert given_server("TEST_MYSQL_URL") == f"{scheme}://u@db.example/app_test"


# --- The fixtures of this suite -------------------------------------------------------------------

TABLES = MetaData()
Table("parent", TABLES, Column("id", Integer, primary_key=True))
Table(
    "child",
    TABLES,
    Column("id", Integer, primary_key=True),
    Column("parent_id", ForeignKey("parent.id")),
)


@pytest.mark.parametrize(
    "change",
    [
        "SELECT 1",
        "DROP TABLE child",
        "CREATE TABLE further (id INT)",
        "ALTER TABLE child ADD COLUMN x INT",
        "CREATE VIEW seen AS SELECT * FROM parent",
        "CREATE TRIGGER later BEFORE INSERT ON child FOR EACH ROW SET @x = 1",
        "CREATE FUNCTION one() RETURNS INT RETURN 1",
    ],
)
def test_kept_tables_are_as_if_created_anew(server: MariaDBServer, change: str):
    """Whatever a test has changed, the next one finds its tables, empty, and counting from one."""
    with (
        mysql_database(server.url(), "kept_tables") as url,
        closing(KeptMySQLTables(url)) as kept,
    ):
        kept.reset(TABLES)
        created = kept._read_schema()
        ask(url, "INSERT INTO parent VALUES (NULL), (NULL)")
        ask(url, "INSERT INTO child VALUES (NULL, 2)")
        ask(url, change)
        kept.reset(TABLES)
        assert kept._read_schema() == created
        ask(url, "INSERT INTO parent VALUES (NULL)")
        assert ask(url, "SELECT MAX(id) FROM parent") == 1
        kept.reset(None)
        assert ask(url, "SHOW TABLES") is None
