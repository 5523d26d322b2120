"""The lag of replicas, from what the primary's log was and when."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastapi_asyncdb.engine.log_history import LogHistory

Answer = tuple[int, float]
"""A position, and when the primary was asked."""

answers = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0.05, 0.5, 0.5, 0.5, 3.0, 600.0])),
    min_size=1,
    max_size=40,
)


def repeated(steps: list[tuple[int, float]], times: int) -> list[Answer]:
    """Return the answers of a primary whose log grows by these steps, again and again."""
    position, now, given = 0, 0.0, []
    for growth, gap in steps * times:
        position += growth
        now += gap
        given.append((position, now))
    return given


def remembering(given: list[Answer]) -> LogHistory:
    """Return the history of these answers."""
    history = LogHistory()
    for position, asked in given:
        history.add(position, asked)
    return history


@given(answers, st.integers(1, 100), st.data())
def test_lag_is_that_of_a_history_that_forgets_nothing(
    steps: list[tuple[int, float]], times: int, data: st.DataObject
):
    """Never less, and at most a sixteenth more, however long the process has run."""
    known = repeated(steps, times)
    newest, now = known[-1]
    history = remembering(known)
    replayed = data.draw(st.integers(-1, newest))
    lag = history.lag(replayed, now)
    had = [asked for position, asked in known if position <= replayed]
    if replayed >= newest:
        assert lag == 0
    elif not had:
        assert lag == math.inf
    else:
        assert now - had[-1] <= lag <= (now - had[-1]) * 17 / 16 + 1e-6
    assert history.missing(replayed) == newest - replayed


@given(answers)
def test_memory_has_a_limit(steps: list[tuple[int, float]]):
    """Also after weeks."""
    history = remembering(repeated(steps, 4000 // len(steps)))
    assert len(history._positions) == len(history._times) <= 1024


def test_idle_primary_makes_no_replica_late():
    """A replica that has everything lacks nothing, however long ago it was written."""
    history = remembering([(100, 1.0), (100, 1000.0)])
    assert history.lag(100, 2000.0) == 0
    history.add(101, 1000.5)
    assert history.lag(100, 1001.0) == 1.0, "since the primary was last seen without the newest"


def test_replica_that_was_behind_before_the_history_began():
    """For how long is not known, so it counts as too long."""
    history = remembering([(100, 1.0), (200, 2.0)])
    assert history.lag(99, 3.0) == math.inf
    assert history.lag(100, 3.0) == 2.0


def test_another_primary_begins_another_history():
    """One that lacked the end of the log: the times of the earlier one mean nothing for it."""
    history = remembering([(100, 1.0), (200, 2.0), (150, 3.0)])
    assert history.newest == 150
    assert history.lag(200, 4.0) == 0, "the replica has more than it: what it has is not known here"
    assert history.lag(120, 4.0) == math.inf


@pytest.mark.parametrize("position", [-1, 0])
def test_empty_history(position: int):
    """Before the primary has answered no replica is behind; a server without a log has position -1."""
    history = LogHistory()
    assert history.lag(5, 1.0) == history.missing(5) == 0
    history.add(position, 1.0)
    assert history.newest == position
