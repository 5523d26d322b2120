"""What one request costs: CPU of the process, beside the get_db that everyone copies.

Starts a PostgreSQL of its own and calls each application in process, interleaved, so that a noisy
machine disturbs all alike. ``python -m benchmarks.request_cost [ROUNDS]``
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
from fastapi_asyncdb.pool.ping import ping_after_idling
from fastapi_asyncdb.testing.servers.postgresql import PostgresServer

REQUESTS = 20


class Item(Base):
    """The row that every request reads."""

    __tablename__ = "benchmark_item"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


def application(dependency: Any) -> FastAPI:
    """Return an application that reads one row through the dependency."""
    app = FastAPI()

    @app.get("/")
    async def read(db: Annotated[AsyncSession, Depends(dependency)]) -> str:
        return (await db.scalars(select(Item).where(Item.id == 1))).one().name

    return app


def idle_application() -> FastAPI:
    """Return an application without a database: what FastAPI itself costs."""
    app = FastAPI()

    @app.get("/")
    async def read() -> str:
        return "name"

    return app


def textbook(engine: AsyncEngine) -> Any:
    """Return the dependency of the tutorials. It commits after the response."""
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


def unguarded(engine: AsyncEngine) -> Any:
    """Return the three layers of the library without anything that guards them."""
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def request_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
        session = sessions()
        async with _Transaction(session):
            yield session

    async def handler_transaction(
        connection: HTTPConnection, session: AsyncSession = Depends(request_session)
    ) -> AsyncIterator[AsyncSession]:
        async with _Transaction(session):
            yield session

    async def get_session(
        session: AsyncSession = Depends(handler_transaction, scope="function"),
    ) -> AsyncSession:
        return session

    return get_session


class _Transaction:
    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.session.in_transaction():
            await (self.session.rollback() if error else self.session.commit())


async def cpu_per_request(app: FastAPI) -> float:
    """Return microseconds of CPU for one request, everything but the network to the client."""
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

    started = time.process_time()
    for _ in range(REQUESTS):
        await app(dict(scope), receive, send)
    return (time.process_time() - started) / REQUESTS * 1e6


async def compare(url: str, rounds: int) -> dict[str, list[float]]:
    """Return the costs of each application, one for each round."""
    async with Database(DatabaseSettings(url=url)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with database.session() as session:
            session.add(Item(id=1, name="name"))
        pinging = create_async_engine(database.engine.url, pool_pre_ping=True)
        plain = create_async_engine(database.engine.url)
        idle = create_async_engine(database.engine.url, pool_use_lifo=True)
        ping_after_idling(idle, 1.0)
        subjects = {
            "no database": idle_application(),
            "textbook with pool_pre_ping": application(textbook(pinging)),
            "textbook": application(textbook(plain)),
            "DB without its guards": application(unguarded(idle)),
            "DB": application(database.get_db),
            "ReadDB": application(database.get_read_db),
        }
        # An event loop with a timer costs a little more, and uvicorn's always has one.
        timer = asyncio.get_running_loop().call_later(3600, lambda: None)
        costs: dict[str, list[float]] = {name: [] for name in subjects}
        for round_number in range(rounds + 5):
            for name, app in subjects.items():
                cost = await cpu_per_request(app)
                if round_number > 4:  # the first five warm up
                    costs[name].append(cost)
        timer.cancel()
        await pinging.dispose()
        await plain.dispose()
        await idle.dispose()
    return costs


def main(rounds: int) -> None:
    """Print a line for each application."""
    with PostgresServer() as server:
        costs = asyncio.run(compare(server.url(), rounds))
    for name, values in costs.items():
        relative = _relative(values, costs["textbook"])
        print(f"{statistics.median(values):8.0f} us  {relative:5.2f} of the textbook  {name}")
    guards = _relative(costs["DB"], costs["DB without its guards"]) - 1
    print(f"The guards cost {guards:.1%}.")


def _relative(costs: list[float], others: list[float]) -> float:
    """Return the median of the ratios within each round: what slows the machine slows both."""
    return statistics.median(cost / other for cost, other in zip(costs, others, strict=True))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
