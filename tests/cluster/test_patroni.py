"""The leader of a Patroni cluster is killed, or stands still, while clients write and read."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from sqlalchemy import select

from fastapi_asyncdb import Database, DatabaseSettings
from tests.cluster.load import UNAVAILABLE, UNKNOWN, Load
from tests.support.application import Base, Note
from tests.support.databases import DRIVERS
from tests.support.patroni import PatroniCluster, PatroniNode, missing_packages, patroni_cluster

pytestmark = [
    pytest.mark.skipif(missing_packages() is not None, reason=str(missing_packages())),
    pytest.mark.promise("T23"),
    pytest.mark.timeout(180),
]

ELECTION = 25.0
"""Seconds for Patroni to elect a leader, several times its ttl."""
SOON = 20.0
"""Seconds after the election until each client writes again, on a busy machine."""


@pytest.fixture(scope="module")
def shared() -> Iterator[PatroniCluster]:
    """A cluster for all tests."""
    with patroni_cluster() as cluster:
        yield cluster


@pytest.fixture
async def cluster(shared: PatroniCluster) -> AsyncIterator[PatroniCluster]:
    """The cluster, with all of its nodes and an empty table."""
    await asyncio.to_thread(shared.mend)
    async with Database(DatabaseSettings(url=shared.url("asyncpg"))) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        yield shared


async def start(load: Load, cluster: PatroniCluster, driver: str) -> None:
    """Start an application for each way in, and wait until all work."""
    await load.add("hosts", cluster.url(driver))
    await load.add("read-write", cluster.url(driver, "?target_session_attrs=read-write"))
    await load.add("HAProxy", cluster.proxied_url(driver))
    standbys = cluster.url(driver, "?target_session_attrs=prefer-standby")
    await load.add("prefer-standby", standbys, reads=True)
    await load.add("replicas", cluster.proxied_url(driver, replicas=True), reads=True)
    await load.go_on(0, 10)


async def replaced(
    load: Load, cluster: PatroniCluster, break_node: Callable[[PatroniNode], None]
) -> tuple[PatroniNode, float, float]:
    """Break the leader, and wait for the next one, while reads go on.

    Patroni elects none while it does not know of a replica that has every commit: then once more.

    Returns:
        The broken node, when it was broken, and when the next one was elected.
    """
    loop = asyncio.get_running_loop()
    for _ in range(3):
        leader = await asyncio.to_thread(cluster.leader)
        broken = loop.time()
        await asyncio.to_thread(break_node, leader)
        try:
            await asyncio.to_thread(cluster.leader, other_than=leader, within=ELECTION)
            break
        except TimeoutError:
            await asyncio.to_thread(cluster.mend)
    else:
        raise TimeoutError("no other leader at the third attempt")
    elected = loop.time()
    assert all(len(each.sent_between(broken, elected)) > 1 for each in load.clients(reads=True))
    return leader, broken, elected


async def healed(load: Load, cluster: PatroniCluster) -> None:
    """Wait until all nodes are there, and the clients have gone on working."""
    await asyncio.to_thread(cluster.wait_until_healthy)
    await load.go_on(asyncio.get_running_loop().time(), 10)


async def check(load: Load, cluster: PatroniCluster) -> None:
    """Compare what the clients were told with what is stored."""
    leader = await asyncio.to_thread(cluster.leader)
    async with (
        Database(DatabaseSettings(url=leader.url("asyncpg"))) as database,
        database.read_session() as session,
    ):
        stored = set(await session.scalars(select(Note.text)))
    writers = load.clients(reads=False)
    assert {text for each in writers for text in each.acknowledged} <= stored
    assert stored.isdisjoint(text for each in writers for text in each.refused)
    assert {answer for each in load.clients() for answer in each.errors} <= {UNAVAILABLE, UNKNOWN}


@pytest.mark.parametrize("by", DRIVERS)
async def test_killed_leader(cluster: PatroniCluster, by: str):
    """No acknowledged write is lost, and writes go on by themselves, whichever way they take."""
    async with Load(limit=20, connect_timeout=2, statement_timeout=1) as load:
        await start(load, cluster, by)
        leader, broken, elected = await replaced(load, cluster, PatroniNode.kill)
        async with asyncio.timeout(SOON):
            await load.go_on(elected, 1)
        print(*load.report(broken, elected), sep="\n")
        leader.start()
        await healed(load, cluster)
    await check(load, cluster)


@pytest.mark.parametrize("by", DRIVERS)
async def test_frozen_leader(cluster: PatroniCluster, by: str):
    """With a statement_timeout no client waits for it, not even for a COMMIT; nor when it wakes up."""
    async with Load(limit=20, connect_timeout=2, statement_timeout=1) as load:
        await start(load, cluster, by)
        leader, broken, elected = await replaced(load, cluster, PatroniNode.freeze)
        async with asyncio.timeout(SOON):
            await load.go_on(elected, 1)
        print(*load.report(broken, elected), sep="\n")
        leader.thaw()
        await healed(load, cluster)
    await check(load, cluster)


@pytest.mark.parametrize("by", DRIVERS)
async def test_frozen_leader_wakes_up_while_clients_wait(cluster: PatroniCluster, by: str):
    """Without a statement_timeout they wait until then; their COMMITs have failed, or are in doubt."""
    async with Load(limit=60, connect_timeout=2) as load:
        await start(load, cluster, by)
        leader, broken, elected = await replaced(load, cluster, PatroniNode.freeze)
        leader.thaw()
        async with asyncio.timeout(SOON):
            await load.go_on(elected, 1)
        print(*load.report(broken, elected), sep="\n")
        await healed(load, cluster)
    await check(load, cluster)
