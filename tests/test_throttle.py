"""Records in bounded number."""

from fastapi_asyncdb.throttle import Throttle


def test_a_burst_is_admitted_and_the_rest_is_counted():
    """The next one that is admitted says how many were not."""
    throttle = Throttle(3600, burst=2)
    assert [throttle.admit() for _ in range(5)] == [0, 0, None, None, None]
    always = Throttle(0)
    assert [always.admit() for _ in range(3)] == [0, 0, 0]


def test_those_that_were_not_admitted_are_counted_once():
    """The count begins anew with each that is admitted."""
    throttle = Throttle(3600)
    assert [throttle.admit() for _ in range(3)] == [0, None, None]
    throttle._since = float("-inf")
    assert [throttle.admit() for _ in range(2)] == [2, None]
