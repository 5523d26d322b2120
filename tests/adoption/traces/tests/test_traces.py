"""OpenTelemetry's, logfire's and Sentry's way: each statement is traced once, whenever it began."""

import logfire
import pytest
import sentry_sdk
from logfire.testing import TestExporter
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sentry_sdk.integrations.asyncpg import AsyncPGIntegration
from sentry_sdk.integrations.sqlalchemy import SqlalchemyIntegration

from fastapi_asyncdb.testing import async_client, sandbox
from shop.app import app, database

EXPECTED = ["DB", "ReadDB", "SnapshotDB", "sessionmaker", "engine"]


async def request(*, in_sandbox: bool = False) -> None:
    async with database:
        if not in_sandbox:
            await send()
            return
        async with sandbox(database):
            await send()


async def send() -> None:
    async with async_client(app) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/panel")).status_code == 200


def texts(statements: list[str]) -> list[str]:
    return [one.removeprefix("SELECT '")[:-1] for one in statements if one.startswith("SELECT '")]


class Spans:
    """The spans of OpenTelemetry, which logfire makes as well."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def take(self) -> list[str]:
        spans = self.exporter.get_finished_spans()
        self.exporter.clear()
        return texts([str((span.attributes or {}).get("db.statement", "")) for span in spans])


@pytest.fixture
def spans():
    yield Spans()
    SQLAlchemyInstrumentor().uninstrument()


async def test_instrumented_before_the_start(spans: Spans) -> None:
    """As it is in most programs; also in a sandbox, and after a second start."""
    SQLAlchemyInstrumentor().instrument(tracer_provider=spans.provider)
    for in_sandbox in (False, True, False):
        await request(in_sandbox=in_sandbox)
        assert spans.take() == EXPECTED


async def test_instrumented_after_the_start(spans: Spans) -> None:
    """Then too, in the sandbox and in the next start as well."""
    async with database:
        SQLAlchemyInstrumentor().instrument(tracer_provider=spans.provider)
        await send()
    assert spans.take() == EXPECTED
    for in_sandbox in (True, False):
        await request(in_sandbox=in_sandbox)
        assert spans.take() == EXPECTED


@pytest.mark.parametrize("started", [False, True])
async def test_engine_instrumented(
    spans: Spans, started: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine that is there from the import on, before or after the start."""
    engine = database.engine.sync_engine
    if started:
        async with database:
            SQLAlchemyInstrumentor().instrument(engine=engine, tracer_provider=spans.provider)
            await send()
    else:
        SQLAlchemyInstrumentor().instrument(engine=engine, tracer_provider=spans.provider)
        await request()
    assert spans.take() == EXPECTED
    for in_sandbox in (True, False):
        await request(in_sandbox=in_sandbox)
        assert spans.take() == EXPECTED
    assert not [each for each in caplog.records if "ended span" in each.getMessage()]


async def test_logfire(spans: Spans) -> None:
    """``instrument_sqlalchemy(engine=)`` takes the ``AsyncEngine``."""
    exporter = TestExporter()
    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[SimpleSpanProcessor(exporter)],
    )
    logfire.instrument_sqlalchemy(engine=database.engine)
    for _ in range(2):
        await request()
        found = [
            str((each.attributes or {}).get("db.statement", "")) for each in exporter.exported_spans
        ]
        exporter.clear()
        assert texts(found) == EXPECTED


async def test_sentry() -> None:
    """It listens on SQLAlchemy's class of engines: once is enough, at any time."""
    events: list[dict] = []
    sentry_sdk.init(
        traces_sample_rate=1.0,
        transport=lambda *_: None,
        integrations=[SqlalchemyIntegration()],
        disabled_integrations=[AsyncPGIntegration()],  # which sees each statement as well
        before_send_transaction=lambda event, hint: events.append(event),
    )
    for in_sandbox in (False, True):
        events.clear()
        with sentry_sdk.start_transaction(name="test"):
            await request(in_sandbox=in_sandbox)
        found = [span["description"] for event in events for span in event["spans"]]
        assert texts(found) == EXPECTED
