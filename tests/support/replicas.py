"""A primary with two standbys, and which of them serves the sessions of a ``Database``."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.testing import PostgresReplica, PostgresServer, postgres_server
from tests.support.application import checked_out, eventually
from tests.support.databases import with_driver

WHERE = text("SELECT inet_server_port()")


@dataclass
class Servers:
    """A primary and two standbys, which tests kill and pause; they run again afterwards."""

    primary: PostgresServer
    replicas: tuple[PostgresReplica, PostgresReplica]

    @property
    def ports(self) -> set[int | None]:
        """The ports of the standbys."""
        return {replica.port for replica in self.replicas}

    def settings(self, driver: str, **options: Any) -> DatabaseSettings:
        """Return settings with all three."""
        urls = [with_driver(each.url(), driver) for each in self.replicas]
        url = with_driver(self.primary.url(), driver)
        return DatabaseSettings(url=url, **{"replica_urls": urls, **options})

    def revive(self) -> None:
        """Start what was killed, and replay what was paused."""
        for server in (self.primary, *self.replicas):
            if not server.is_running():
                server.start()
        for replica in self.replicas:
            replica.psql("SELECT pg_wal_replay_resume()")
            replica.wait_until_caught_up()


@contextmanager
def primary_with_standbys() -> Iterator[Servers]:
    """Run three servers, with an empty table."""
    with postgres_server() as primary:
        primary.psql("CREATE TABLE thing (id serial PRIMARY KEY)")
        with primary.replica() as one, primary.replica() as other:
            yield Servers(primary, (one, other))


@asynccontextmanager
async def started(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Run a ``Database``; afterwards no connection is in use."""
    async with Database(settings) as database:
        yield database
        await eventually(lambda: checked_out(database) == 0)


async def reader(database: Database, **options: Any) -> int:
    """Return the port of the server that serves a reading session."""
    chosen: dict[str, Any] = {"read_only": True, **options}
    async with database.session(**chosen) as session:
        return int((await session.execute(WHERE)).scalar_one())


async def readers(database: Database, **options: Any) -> set[int]:
    """Return the ports of those that serve several; with two servers one is missed once in 10^9 runs."""
    return {await reader(database, **options) for _ in range(30)}


async def until_reads_go_to(database: Database, ports: set[int | None]) -> None:
    """Wait until exactly these servers serve."""
    async with asyncio.timeout(10):
        while await readers(database) != ports:
            await asyncio.sleep(0.02)


async def until_reads_go_to_or_fail(database: Database, ports: set[int | None]) -> None:
    """Wait likewise; a statement on a connection that was just lost fails."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await until_reads_go_to(database, ports)
            except DBAPIError:
                pass
