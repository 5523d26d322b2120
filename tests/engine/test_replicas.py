"""Which replica serves a session: a decision without a server."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from pydantic import ByteSize

from fastapi_asyncdb import DatabaseSettings
from fastapi_asyncdb.engine.client_writes import Clients, ClientWrites
from fastapi_asyncdb.engine.create import create_engines
from fastapi_asyncdb.engine.replicas import Replica, Replicas

ENGINES = create_engines(
    DatabaseSettings(url="postgresql+asyncpg://db2/app"), target=None, is_replica=True
)


@dataclass(eq=False)
class Busy(Replica):
    """A replica with so many sessions."""

    sessions: int = 0

    def load(self) -> int:
        """Return their number."""
        return self.sessions


def replicas(
    *loads: int, max_lag: float | ByteSize | None = None, clients: Clients | None = None
) -> Replicas:
    """Return replicas that are up; the position of each is its number."""
    each = [Busy(ENGINES, True, number, sessions=load) for number, load in enumerate(loads)]
    found = Replicas(each, max_lag, clients or Clients())
    found.refresh()
    return found


def chosen(found: Replicas, times: int = 3000) -> Counter[int]:
    """Return how often each one is chosen, by its number."""
    choices = [found.choose() for _ in range(times)]
    return Counter(found.all.index(choice) for choice in choices if choice is not None)


@pytest.mark.parametrize("loads", [(), (0,), (0, 5)])
def test_less_busy_of_two(loads: Sequence[int]):
    """Without any the primary serves; of two the less busy one always does."""
    assert chosen(replicas(*loads), 50) == ({0: 50} if loads else {})


def test_two_random_choices():
    """All share the load when they are equal; the busiest is never the less busy of two."""
    counts = chosen(replicas(1, 1, 1, 1))
    assert all(count > 500 for count in counts.values())
    assert len(counts) == 4
    counts = chosen(replicas(1, 2, 3, 4))
    assert counts[0] > counts[1] > counts[2] > counts[3] == 0


def test_none_is_chosen_before_it_was_seen():
    """A replica is down until the first look at it."""
    found = Replicas([Busy(ENGINES)], None, Clients())
    found.refresh()
    assert found.choose() is None


@pytest.mark.parametrize(
    ("max_lag", "expected"), [(None, {0, 1}), (5.0, {0}), (ByteSize(100), {1}), (0.0, set[int]())]
)
def test_replicas_that_are_behind(max_lag: float | ByteSize | None, expected: set[int]):
    """By seconds, or by bytes."""
    found = replicas(0, 0, max_lag=max_lag)
    found.all[0].lag, found.all[0].missing = 5.0, 101
    found.all[1].lag, found.all[1].missing = math.inf, 100
    found.refresh()
    assert set(chosen(found, 50)) == expected


@pytest.mark.parametrize(
    ("position", "expected"),
    [(-1, {0, 1, 2}), (1, {1, 2}), (2, {2}), (3, set[int]()), (math.inf, set[int]())],
)
def test_client_that_has_written(position: float, expected: set[int]):
    """Only replicas with all of it serve the client; those of other requests are not concerned."""
    clients = Clients()
    found = replicas(0, 0, 0, clients=clients)
    with clients.serving(ClientWrites(position)):
        assert set(chosen(found, 200)) == expected
    with clients.serving(ClientWrites(has_written=True)):
        assert found.choose() is None
    assert set(chosen(found, 200)) == {0, 1, 2}
