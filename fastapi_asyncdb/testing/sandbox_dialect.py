"""Dialects for a sandbox: one in which a transaction is a savepoint, one in which there is none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.aborted import forget_abort
from fastapi_asyncdb.read_only import only_reads
from fastapi_asyncdb.testing.one_connection import OneConnection
from fastapi_asyncdb.testing.sandbox_pool import SAVEPOINT

Execute = Callable[..., None]


def writing(one: OneConnection, check: Callable[[], None], local: dict[str, int]) -> Dialect:
    """Return a dialect in which a transaction is a savepoint.

    Args:
        one: The connection.
        check: Checks what COMMIT would check; raises what it would raise.
        local: PostgreSQL's settings for each transaction. A rollback undoes them, a commit does not.
    """
    ends = _Ends(one, check, local)
    dialect = _plain(one)
    _put(dialect, do_begin=ends.do_begin, do_commit=ends.do_commit, do_rollback=ends.do_rollback)
    _execute_through(dialect, ends.around)
    return dialect


@dataclass(frozen=True)
class _Ends:
    """The ends of a transaction that is a savepoint, and what happens between them."""

    one: OneConnection
    check: Callable[[], None]
    local: dict[str, int]

    def do_begin(self, dbapi_connection: PoolProxiedConnection) -> None:
        dbapi_connection.info[SAVEPOINT] = self.one.savepoints.begin()
        for name, value in self.local.items():
            self.one.run(f"SET LOCAL {name} = {value:d}")

    def do_commit(self, dbapi_connection: PoolProxiedConnection) -> None:
        savepoint = dbapi_connection.info.pop(SAVEPOINT)
        try:
            self.check()
        except BaseException:
            self.one.undo(savepoint)  # as the database does when COMMIT fails
            raise
        for name in self.local:
            self.one.run(f"SET LOCAL {name} TO DEFAULT")
        self.one.savepoints.commit(savepoint)

    def do_rollback(self, dbapi_connection: PoolProxiedConnection) -> None:
        forget_abort(dbapi_connection)
        savepoint = dbapi_connection.info.pop(SAVEPOINT, None)
        if savepoint is not None and not self.one.lost:
            self.one.savepoints.rollback(savepoint)

    def around(self, execute: Execute) -> Execute:
        def run(cursor: object, statement: str, *rest: Any) -> None:
            self.one.refuse_lost()
            self.one.refuse_end(statement)
            savepoint = rest[-1].root_connection.info.get(SAVEPOINT)
            if savepoint is not None and not only_reads(statement):
                self.one.savepoints.note_write(savepoint)
            execute(cursor, statement, *rest)

        return run


def reading(one: OneConnection) -> Dialect:
    """Return a dialect for autocommit reads: one that fails takes nothing along but itself."""

    def around(execute: Execute) -> Execute:
        def run(cursor: object, statement: str, *rest: Any) -> None:
            savepoint = one.savepoints.begin()
            try:
                execute(cursor, statement, *rest)
            except BaseException:
                one.undo(savepoint)
                raise
            one.savepoints.commit(savepoint)

        return run

    dialect = _plain(one)
    _put(dialect, do_begin=_nothing, do_commit=_nothing, do_rollback=_nothing)
    _execute_through(dialect, around)
    return dialect


def _plain(one: OneConnection) -> Dialect:
    """Return a dialect that closes nothing, and leaves the transaction's character alone."""
    dialect = copy.copy(one.dialect)
    _put(dialect, do_close=_nothing, do_terminate=_nothing, connection_characteristics={})
    return dialect


def _execute_through(dialect: Dialect, around: Callable[[Execute], Execute]) -> None:
    names = ("do_execute", "do_executemany", "do_execute_no_params")
    _put(dialect, **{name: around(getattr(dialect, name)) for name in names})


def _put(dialect: Dialect, **members: object) -> None:
    """Give one dialect methods of its own; events would be shared with the one it was made from."""
    for name, member in members.items():
        setattr(dialect, name, member)


def _nothing(*arguments: object) -> None:
    pass
