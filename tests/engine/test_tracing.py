"""OpenTelemetry's instrumentation of SQLAlchemy sees what goes through the library's engines."""

from collections.abc import Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from tests.support.application import Base, Note


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """What instrumented engines have traced; instrumented before the database starts."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = SQLAlchemyInstrumentor()
    # It works with SQLAlchemy 2.1, and says that it does not.
    instrumentor.instrument(tracer_provider=provider, skip_dep_check=True)
    yield exporter
    instrumentor.uninstrument()
    provider.shutdown()


def traced(exporter: InMemorySpanExporter) -> list[str]:
    """Return the queries that have a span, in order."""
    attributes = [span.attributes or {} for span in exporter.get_finished_spans()]
    statements = [str(one.get("db.statement", "")) for one in attributes]
    return [statement for statement in statements if statement.startswith("SELECT '")]


async def test_statements_of_requests_have_spans(database_url: str, exporter: InMemorySpanExporter):
    """What DB, ReadDB and a snapshot send is traced, although two of them use derived engines."""
    database = Database(DatabaseSettings(url=database_url))
    app = FastAPI()

    @app.get("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
        reader: Annotated[AsyncSession, Depends(database.get_read_db)],
        snapshot: Annotated[AsyncSession, Depends(database.get_snapshot_db)],
    ) -> None:
        await db.execute(text("SELECT 'DB'"))
        await reader.execute(text("SELECT 'ReadDB'"))
        await snapshot.execute(text("SELECT 'SnapshotDB'"))

    transport = httpx.ASGITransport(app)
    async with database, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        exporter.clear()
        assert (await client.get("/")).status_code == 200
    assert traced(exporter) == ["SELECT 'DB'", "SELECT 'ReadDB'", "SELECT 'SnapshotDB'"]


async def test_tracer_that_comes_after_the_start_sees_each_statement_once(
    database_url: str, request: pytest.FixtureRequest
):
    """From the next session on, in later starts too; not after it was taken away."""
    database = Database(DatabaseSettings(url=database_url))

    async def ask(number: int) -> None:
        async with database.session() as session:
            await session.execute(text(f"SELECT 'write {number}'"))
        async with database.read_session() as session:
            await session.execute(text(f"SELECT 'read {number}'"))
        async with database.engine.connect() as connection:
            await connection.execute(text(f"SELECT 'engine {number}'"))

    async with database:
        await ask(0)
        exporter: InMemorySpanExporter = request.getfixturevalue("exporter")
        await ask(1)
        await ask(2)
    async with database:
        await ask(3)
        instrumentor = SQLAlchemyInstrumentor()
        instrumentor.uninstrument()
        await ask(4)
        instrumentor.instrument(skip_dep_check=True)  # the fixture takes it away
    assert traced(exporter) == [
        f"SELECT '{who} {number}'" for number in (1, 2, 3) for who in ("write", "read", "engine")
    ]


async def test_statements_with_options_have_spans(
    database_url: str, exporter: InMemorySpanExporter
):
    """So is what a session with an isolation level sends, on an engine made when it is opened."""
    database = Database(DatabaseSettings(url=database_url))
    async with database, database.session(isolation_level="SERIALIZABLE") as session:
        await session.execute(text("SELECT 'level'"))
    assert traced(exporter) == ["SELECT 'level'"]


async def test_what_the_commit_flushes_belongs_to_the_callers_trace(
    database_url: str, exporter: InMemorySpanExporter
):
    """A commit runs in a task of its own; the span of its INSERT has the caller's as its parent."""
    tracer = TracerProvider().get_tracer("test")
    async with Database(DatabaseSettings(url=database_url)) as database:
        await database.start(create_tables=Base.metadata)
        with tracer.start_as_current_span("request") as request:
            async with database.session() as session:
                session.add(Note(text="flushed by the commit"))
        await database.stop()
    (insert,) = [
        span
        for span in exporter.get_finished_spans()
        if str((span.attributes or {}).get("db.statement", "")).startswith("INSERT")
    ]
    assert insert.parent is not None
    assert insert.parent.span_id == request.get_span_context().span_id


async def test_failed_statement_has_a_span_with_its_error(
    database_url: str, exporter: InMemorySpanExporter
):
    """A statement that the database refuses ends its span, as an error."""
    database = Database(DatabaseSettings(url=database_url))
    async with database, database.read_session() as session:
        with pytest.raises(DBAPIError, match="nowhere"):
            await session.execute(text("SELECT * FROM nowhere"))
    (span,) = [span for span in exporter.get_finished_spans() if not span.status.is_ok]
    assert (span.attributes or {})["db.statement"] == "SELECT * FROM nowhere"
