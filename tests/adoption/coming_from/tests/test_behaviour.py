"""Each row of the tables in docs/coming-from, on PostgreSQL."""

import asyncio
from importlib.metadata import version
from types import ModuleType
from uuid import uuid4

import pytest
from httpx import AsyncClient
from packaging.version import Version
from sqlalchemy import select, text

import behaviour
import schema

pytestmark = pytest.mark.skipif(
    not schema.POSTGRESQL, reason="SQLite locks what such a connection has written"
)


def expected(application: ModuleType) -> dict[str, str]:
    """Return the column of the table."""
    _, name, side = application.__name__.split(".")
    if side == "after":
        return behaviour.AFTER
    known = behaviour.BEFORE[name]
    if name == "fastapi_async_sqlalchemy" and Version(
        version("fastapi-async-sqlalchemy")
    ) < Version("0.8"):
        return known | behaviour.FASTAPI_ASYNC_SQLALCHEMY_0_7
    return known


async def post(client: AsyncClient, probe: str, author: int) -> str:
    """Let a route write a book, and return its answer and whether the book is stored."""
    title = uuid4().hex
    answer = await client.post(f"/probes/{probe}", params={"title": title, "author_id": author})
    return f"`{answer.status_code}`, {'stored' if schema.stored(title) else 'not stored'}"


async def held() -> int:
    """Return how many connections of this database are in a transaction."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    with schema.looking() as connection:
        return connection.scalar(text(f"{sql} AND state LIKE 'idle in transaction%'"))


async def works(before: int) -> str:
    """Say whether something that worked has returned its connection."""
    return "works" if await held() <= before else "works, and keeps a connection"


async def connect(app) -> None:
    """Open the WebSocket, and read what it sends."""
    sent = []
    receive = asyncio.Queue()
    receive.put_nowait({"type": "websocket.connect"})

    async def send(message) -> None:
        sent.append(message)

    path = {"type": "websocket", "path": "/probes/socket", "headers": [], "query_string": b""}
    await app(path | {"subprotocols": [], "state": {}}, receive.get, send)
    assert sent[1]["text"] == "1"


@pytest.mark.parametrize(
    "probe", ["raises", "returns", "redirects", "swallows", "background", "background-fails"]
)
async def test_what_is_stored(
    application: ModuleType, client: AsyncClient, author: int, probe: str
) -> None:
    """And what the client was told."""
    assert await post(client, probe, author) == expected(application)[probe]


async def test_commit_that_fails(application: ModuleType, client: AsyncClient) -> None:
    """The author of the book does not exist, which COMMIT finds out."""
    found = await post(client, "plain", author=0)
    assert found == expected(application)["commit-fails"]


async def test_stream(application: ModuleType, client: AsyncClient) -> None:
    """Its rows arrive, and then the connection is in the pool again."""
    before = await held()
    answer = await client.get("/probes/stream")
    found = await works(before) if answer.text == "1\n" else f"`{answer.status_code}`, no rows"
    assert found == expected(application)["stream"]


async def test_socket(application: ModuleType) -> None:
    """The same dependency in a WebSocket's route."""
    before = await held()
    try:
        await connect(application.app)
        found = await works(before)
    except Exception as error:
        found = f"`{type(error).__name__}`"
    assert found == expected(application)["socket"]


async def test_session_after_the_request(application: ModuleType, client: AsyncClient) -> None:
    """As a task does that outlives its request."""
    await client.get("/probes/keeps")
    session, before = application.app.state.kept, await held()
    try:
        await session.scalar(select(1))
        found = await works(before)
        await session.close()
    except Exception as error:
        found = f"`{type(error).__name__}`"
    assert found == expected(application)["keeps"]
