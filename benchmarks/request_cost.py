"""What one request costs: CPU of the process, beside dependencies that do less.

Starts a PostgreSQL of its own and calls each application in process, interleaved, so that a noisy
machine disturbs all alike. Each line is one application: what its handler does, one or eight requests
at once, microseconds for a request, and the ratio to the leanest dependency. ``DB`` commits before the
response, once, whatever is cancelled; the leanest does so after it.
``python -m benchmarks.request_cost [ROUNDS]``
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from sqlalchemy import select
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Mapped, mapped_column

from fastapi_asyncdb import Base, Database, DatabaseSettings
from fastapi_asyncdb.testing import postgres_server

REQUESTS = 24
WARM_UP = 3

Costs = dict[tuple[str, int, str], list[float]]
"""For each kind of handler, number of requests at once, and dependency: one cost a round."""


class Item(Base):
    """The row that a request reads or writes."""

    __tablename__ = "benchmark_item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def reading(dependency: Any) -> FastAPI:
    """Return an application that reads one row."""
    app = FastAPI()

    @app.get("/")
    async def read(db: Annotated[AsyncSession, Depends(dependency)]) -> str:
        return (await db.scalars(select(Item).where(Item.id == 1))).one().name

    return app


def writing(dependency: Any) -> FastAPI:
    """Return an application that inserts one row."""
    app = FastAPI()

    @app.get("/")
    async def write(db: Annotated[AsyncSession, Depends(dependency)]) -> int:
        item = Item(name="name")
        db.add(item)
        await db.flush()
        return item.id

    return app


def without_sql(dependency: Any) -> FastAPI:
    """Return an application that has a session and does not use it."""
    app = FastAPI()

    @app.get("/")
    async def answer(db: Annotated[AsyncSession, Depends(dependency)]) -> int:
        return 1

    return app


def leanest(engine: AsyncEngine) -> Any:
    """Return the shortest dependency that gives its connection back."""
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def get_db() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session
            await session.commit()

    return get_db


def textbook(engine: AsyncEngine) -> Any:
    """Return the dependency of the tutorials."""
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def get_db() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            try:
                yield session
                await session.commit()
            except BaseException:
                await session.rollback()
                raise

    return get_db


def three_layers(engine: AsyncEngine) -> Any:
    """Return the three dependencies of the library without anything that guards them."""
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def request_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    async def handler_transaction(
        connection: HTTPConnection, session: AsyncSession = Depends(request_session)
    ) -> AsyncIterator[AsyncSession]:
        yield session
        if session.in_transaction():
            await session.commit()

    async def get_session(
        session: AsyncSession = Depends(handler_transaction, scope="function"),
    ) -> AsyncSession:
        return session

    return get_session


async def cpu_per_request(app: FastAPI, at_once: int) -> float:
    """Return microseconds of CPU for one request, everything but the network to the client."""

    async def client() -> None:
        for _ in range(REQUESTS // at_once):
            await request(app)

    started = time.process_time()
    await asyncio.gather(*(client() for _ in range(at_once)))
    return (time.process_time() - started) / REQUESTS * 1e6


async def request(app: FastAPI) -> None:
    """Call an application as a server does."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "state": {},
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise RuntimeError(f"The request failed: {message}")

    await app(scope, receive, send)


async def compare(url: str, rounds: int) -> Costs:
    """Return the costs of each application, one for each round."""
    async with Database(DatabaseSettings(url=url, pool_size=10)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with database.session() as session:
            session.add(Item(name="name"))
        plain = create_async_engine(database.engine.url, pool_size=10)
        pinging = create_async_engine(database.engine.url, pool_size=10, pool_pre_ping=True)
        dependencies = {
            "leanest": leanest(plain),
            "textbook": textbook(plain),
            "textbook, pool_pre_ping": textbook(pinging),
            "three layers": three_layers(plain),
            "DB": database.get_db,
        }
        apps = {
            (kind.__name__, name): kind(dependency)
            for kind in (writing, reading, without_sql)
            for name, dependency in dependencies.items()
        }
        apps["reading", "ReadDB"] = reading(database.get_read_db)
        costs = await measure(apps, rounds)
        await plain.dispose()
        await pinging.dispose()
    return costs


async def measure(apps: dict[tuple[str, str], FastAPI], rounds: int) -> Costs:
    """Measure all applications in each round."""
    # An event loop with a timer costs a little more, and uvicorn's always has one.
    timer = asyncio.get_running_loop().call_later(3600, lambda: None)
    costs: Costs = {}
    for round_number in range(rounds + WARM_UP):
        for at_once in (1, 8):
            for (kind, name), app in apps.items():
                cost = await cpu_per_request(app, at_once)
                if round_number >= WARM_UP:
                    costs.setdefault((kind, at_once, name), []).append(cost)
    timer.cancel()
    return costs


def main(rounds: int) -> None:
    """Print a line for each application."""
    with postgres_server() as server:
        costs = asyncio.run(compare(server.url(), rounds))
    for (kind, at_once, name), values in sorted(costs.items()):
        leanest_values = costs[kind, at_once, "leanest"]
        # Ratios within each round: what slows the machine slows both.
        ratio = statistics.median(
            cost / other for cost, other in zip(values, leanest_values, strict=True)
        )
        print(f"{kind:12} x{at_once} {statistics.median(values):6.0f} us  {ratio:5.3f}  {name}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
