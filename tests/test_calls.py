"""The calls of the library around a statement, which are on each request's path."""

import sys
from collections import Counter
from types import FrameType

import pytest
from sqlalchemy import Connection, text

from fastapi_asyncdb import Database, DatabaseSettings

RUN = "dialects.calls", "_in_steps.<locals>.run"
BEGIN = "dialects.deadlines", "Deadlines.begin"
REFUSE = "engine.read_only", "refuse_write"


def calls_of_a_statement(connection: Connection) -> Counter[tuple[str, str]]:
    """Return the library's functions that one statement calls, when all caches are warm."""
    found: Counter[tuple[str, str]] = Counter()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        package, _, module = frame.f_globals.get("__name__", "").partition(".")
        if event == "call" and package == "fastapi_asyncdb":
            found[module, frame.f_code.co_qualname] += 1

    statement = text("SELECT 1")
    for _ in range(3):
        connection.execute(statement).all()
    sys.setprofile(profile)
    try:
        connection.execute(statement)
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize(
    ("engine", "statement_timeout", "calls"),
    [
        ("engine", None, [RUN]),
        ("read_engine", None, [RUN, REFUSE]),
        ("engine", 60, [RUN, BEGIN]),
        ("read_engine", 60, [RUN, REFUSE, BEGIN]),
    ],
)
async def test_statement_runs_the_steps_that_it_needs(
    worker_database: str, engine: str, statement_timeout: float | None, calls: list[tuple[str, str]]
):
    """One call runs all steps: a step without need costs none."""
    url = worker_database.replace("://", "+psycopg://", 1)
    database = Database(DatabaseSettings(url=url, statement_timeout=statement_timeout))
    async with database, getattr(database, engine).connect() as connection:
        assert await connection.run_sync(calls_of_a_statement) == Counter(calls)


async def test_errors_have_one_listener(database: Database):
    """Whose steps have a written order, instead of that in which modules happen to listen."""
    for engine in {database.engine, database.read_engine}:
        assert len(list(engine.dialect.dispatch.handle_error)) == 1
