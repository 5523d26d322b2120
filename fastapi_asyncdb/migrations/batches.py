"""``Batches``: the statements of a backfill, which walk through a table by its primary key."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    MetaData,
    Table,
    TextClause,
    bindparam,
    func,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.elements import Grouping

from fastapi_asyncdb.concurrency import await_only, backoff, in_greenlet
from fastapi_asyncdb.dialects import is_conflict, rejection_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.tracebacks import causes

logger = logging.getLogger(__name__)

_ATTEMPTS = 5
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0

Key = tuple[Any, ...]
Where = str | TextClause | ColumnElement[bool]


def condition(where: Where) -> ColumnElement[bool]:
    """Return a condition in parentheses, if it is a text: there may be an OR in it."""
    clause = text(where) if isinstance(where, str) else where
    return Grouping(clause) if isinstance(clause, TextClause) else clause


def pause_for(seconds: float) -> None:
    """Wait; other tasks of the event loop run meanwhile, if there is one."""
    if in_greenlet():
        await_only(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


class Batches:
    """The statements of one backfill, each in a transaction that ends with it.

    Args:
        connection: In no transaction, or in autocommit.
        name: The table.
        values: The new values.
        where: Which rows are to be changed.

    Raises:
        ConfigurationError: the connection is in a transaction; the table has no primary key.
    """

    def __init__(
        self,
        connection: Connection,
        name: str | Table,
        values: Mapping[str, Any],
        where: Where,
    ) -> None:
        _refuse_transaction(connection)
        self._connection = connection
        self._table = name if isinstance(name, Table) else self._reflected(name)
        self._condition = condition(where)
        self._values = dict(values)
        self._key = list(self._table.primary_key.columns)
        self.name = self._table.fullname
        if not self._key:
            raise ConfigurationError(
                f"The table {self.name} has no primary key, by which a backfill walks through it. Pass "
                "a Table whose columns of a unique constraint are declared with primary_key=True."
            )

    def _reflected(self, name: str) -> Table:
        schema, _, plain = name.rpartition(".")
        with self._transaction() as connection:
            return Table(
                plain,
                MetaData(),
                schema=schema or None,
                autoload_with=connection,
                resolve_fks=False,
            )

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        begun = self._connection.in_transaction()
        with nullcontext() if begun else self._connection.begin():
            yield self._connection

    def count(self) -> int:
        """Return how many rows match."""
        statement = select(func.count()).select_from(self._table).where(self._condition)
        with self._transaction() as connection:
            return connection.scalar(statement) or 0

    def end_of_batch(self, after: Key | None, size: int) -> Key | None:
        """Return the last key of the next batch; ``None`` if there is no further row."""
        batch = select(*self._key).where(self._condition, *self._beyond(after))
        keys = batch.order_by(*self._key).limit(size).subquery()
        statement = select(keys).order_by(*(each.desc() for each in keys.columns)).limit(1)
        with self._transaction() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else tuple(row)

    def change(self, after: Key | None, end: Key) -> int:
        """Change the rows of a batch; return how many there were."""
        statement = (
            update(self._table)
            .values(self._values)
            .where(self._condition, *self._beyond(after), self._position() <= self._at(end))
        )
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self._transaction() as connection:
                    return connection.execute(statement).rowcount
            except DBAPIError as error:
                if attempt == _ATTEMPTS or not _may_succeed(error):
                    raise
                logger.warning("%s: a batch is repeated: %s", self.name, error.orig)
            pause_for(backoff(attempt, base=_FIRST_DELAY, cap=_LONGEST_DELAY))
        raise AssertionError("the last attempt returns or raises")

    def _beyond(self, after: Key | None) -> list[ColumnElement[bool]]:
        return [] if after is None else [self._position() > self._at(after)]

    def _position(self) -> Any:
        return self._key[0] if len(self._key) == 1 else tuple_(*self._key)

    def _at(self, key: Key) -> Any:
        pairs = zip(self._key, key, strict=True)
        values = [bindparam(None, value, type_=each.type) for each, value in pairs]
        return values[0] if len(values) == 1 else tuple_(*values)


def _may_succeed(error: DBAPIError) -> bool:
    """Return whether a batch that failed may succeed when it is repeated: nothing of it is stored."""
    if error.connection_invalidated:
        return False
    rejection = rejection_of(error)
    waited = rejection is not None and rejection.kind == "lock timeout"
    return waited or any(is_conflict(cause) for cause in causes(error))


def _refuse_transaction(connection: Connection) -> None:
    """Refuse a connection that would make one transaction of all batches."""
    level = connection.get_execution_options().get("isolation_level")
    if connection.in_transaction() and level != "AUTOCOMMIT":
        raise ConfigurationError(
            "The connection is in a transaction, so that all batches would be committed together: rows "
            "stay locked until then, and nothing is kept when it fails. In a revision pass "
            "op.get_context() instead of a connection; elsewhere, end the transaction first."
        )
