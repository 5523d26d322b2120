"""Connections that PostgreSQL has ended: what their errors say."""

from asyncpg import InternalClientError

from fastapi_asyncdb.dialects.postgresql.lost_connections import loss


def test_end_that_comes_while_the_connection_is_idle():
    """Asyncpg has read the server's last message, sends nothing any more, and has no word for it."""
    error = InternalClientError("cannot switch to state 15; another operation (2) is in progress")
    words = loss(error, {})
    assert words is not None
    assert "has just ended the connection" in words
    assert loss(ValueError("another one"), {}) is None
