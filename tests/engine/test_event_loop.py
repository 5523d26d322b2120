"""``database.run(main)``, the event loop of a script; loops of other threads and of forked processes."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.run import Run
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import DatabaseNotStarted
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


@pytest.fixture
def stopped(database_url: str) -> Database:
    """A database that has not started."""
    return Database(DatabaseSettings(url=database_url))


def test_run_starts_the_database_and_returns_the_result(stopped: Database):
    """Arguments arrive, the result comes back, and no connection stays; as often as it is called."""

    async def add(one: int, *, other: int) -> int:
        async with stopped.session() as session:
            statement = text("SELECT CAST(:one AS INTEGER) + :other")
            return await session.scalar(statement, {"one": one, "other": other}) or 0

    assert [stopped.run(add, 1, other=other) for other in (1, 2)] == [2, 3]
    assert repr(stopped) == "<Database not started>"


@pytest.mark.databases("sqlite")
def test_run_takes_transactional_functions(stopped: Database):
    """The session is passed by the decorator, so that a command is one line."""

    @stopped.transactional()
    async def double(session: object, number: int) -> int:
        return number * 2

    assert stopped.run(double, 21) == 42


@pytest.mark.databases("sqlite")
def test_run_stops_after_an_error(stopped: Database):
    """The error of the function leaves as it is."""

    async def fail() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        stopped.run(fail)
    assert repr(stopped) == "<Database not started>"


@pytest.fixture
def default_ctrl_c() -> Iterator[None]:
    """Handle Ctrl+C as Python does: a shell has what it starts in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.databases("sqlite")
def test_ctrl_c_ends_run_as_it_ends_asyncio_run(stopped: Database, default_ctrl_c: None):
    """The function is cancelled, the database stops, and KeyboardInterrupt leaves."""
    seen: list[str] = []

    async def wait() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        stopped.run(wait)
    assert (seen, repr(stopped)) == (["cancelled"], "<Database not started>")


@pytest.mark.databases("sqlite")
async def test_run_in_an_event_loop_is_explained(stopped: Database):
    """Before anything is called."""

    async def main() -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="Await the function there: 'async with database"):
        stopped.run(main)


@pytest.mark.databases("sqlite")
def test_run_refuses_a_coroutine(stopped: Database):
    """The habit of ``asyncio.run(main())``; Python does not warn of it a second time."""

    async def main() -> None: ...

    with pytest.raises(TypeError, match=r"coroutine of .*main\(\)\. It takes the function"):
        stopped.run(main())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.databases("sqlite")
def test_message_before_the_start_names_run(stopped: Database):
    """A script has no lifespan."""

    async def main() -> None:
        async with stopped.session() as session:
            await session.execute(text("SELECT 1"))

    with pytest.raises(
        DatabaseNotStarted, match=r"Scripts, commands and jobs .*database\.run\(main\)"
    ):
        asyncio.run(main())


@pytest.mark.databases("sqlite")
def test_threads_start_on_their_loops_meanwhile(stopped: Database):
    """A thread that looks at all event loops does not fail while another one adds its own."""
    runs, interval = runs_of(stopped), sys.getswitchinterval()
    loops: list[Any] = [type("Loop", (), {})() for _ in range(6000)]

    def add(number: int) -> None:
        while len(runs._by_loop) < number:
            runs._by_loop[loops[len(runs._by_loop)]] = Run()

    add(4000)
    adding = threading.Thread(target=add, args=(6000,))
    sys.setswitchinterval(1e-6)
    try:
        adding.start()
        while adding.is_alive():
            assert runs.started() == []
    finally:
        sys.setswitchinterval(interval)
        adding.join()
        runs._by_loop = WeakKeyDictionary()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_does_not_use_the_connections_of_its_parent(stopped: Database):
    """On the very same event loop: the message says so, and a start there has connections of its own."""

    async def ping() -> str:
        try:
            async with stopped.session() as session:
                return str(await session.scalar(text("SELECT 1")))
        except DatabaseNotStarted as error:
            return str(error)

    async def start_and_ping() -> str:
        async with stopped:
            return await ping()

    with asyncio.Runner() as runner:
        runner.run(stopped.start())
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            signal.alarm(10)  # a reader of the parent's socket may wait for ever
            try:
                answers = [runner.run(ping()), repr(stopped), stopped.run(start_and_ping)]
                os.write(writing, "\n".join(answers).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            refusal, shown, answer = pipe.read().split("\n")
        os.waitpid(child, 0)
        assert "in this process, which was forked while it was started" in refusal
        assert (shown, answer) == ("<Database not started>", "1")
        assert runner.run(ping()) == "1"
        runner.run(stopped.stop())
