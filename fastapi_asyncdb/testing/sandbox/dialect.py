"""The dialects of a sandbox: for writing, a transaction is a savepoint; for reading, there is none."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb.dialects.autocommit import commits_itself
from fastapi_asyncdb.dialects.calls import surround_statements
from fastapi_asyncdb.dialects.reading_streams import NOTHING, end_streams
from fastapi_asyncdb.dialects.stream_cursors import stream_in
from fastapi_asyncdb.engine.failed_transactions import forget_failure, refuse_end
from fastapi_asyncdb.engine.read_only import only_reads
from fastapi_asyncdb.errors import SandboxError
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection
from fastapi_asyncdb.testing.sandbox.local_settings import LocalSettings
from fastapi_asyncdb.testing.sandbox.pool import SAVEPOINT
from fastapi_asyncdb.testing.sandbox.reading import (
    reading_whole,
    refuse_savepoint_in_autocommit,
    refuse_stream_in_autocommit,
    refusing_writes,
)
from fastapi_asyncdb.testing.sandbox.savepoint_stack import Savepoint
from fastapi_asyncdb.testing.sandbox.statements import refuse_end as refuse_transaction_end
from fastapi_asyncdb.testing.sandbox.writing_functions import calls_writer

Execute = Callable[..., None]
_SETTINGS = "fastapi_asyncdb.settings"
_ORIGINAL = "fastapi_asyncdb_original"


def writing(
    shared: SharedConnection,
    check: Callable[[], None],
    drops: Callable[[DBAPIConnection, BaseException], bool],
    local: dict[str, str],
) -> Dialect:
    """Return a dialect in which a transaction is a savepoint.

    Args:
        shared: The connection.
        check: Checks what COMMIT would check; raises what it would raise.
        drops: Returns whether an error has ended the transaction.
        local: The server's settings for each transaction, and their values.
    """
    ends = _Ends(shared, check, drops, local)
    dialect = _plain(shared)
    _put(
        dialect,
        do_begin=_alone(shared, ends.do_begin),
        do_commit=_alone(shared, ends.do_commit),
        do_rollback=_alone(shared, ends.do_rollback),
        do_savepoint=_alone(shared, ends.do_savepoint),
        do_rollback_to_savepoint=_alone(shared, ends.do_rollback_to_savepoint),
        do_release_savepoint=_alone(shared, ends.do_release_savepoint),
    )
    surround_statements(dialect, lambda execute: _alone(shared, ends.around(execute)))
    return dialect


@dataclass(frozen=True)
class _Ends:
    """The begin, the statements and the end of a transaction that is a savepoint."""

    shared: SharedConnection
    check: Callable[[], None]
    drops: Callable[[DBAPIConnection, BaseException], bool]
    local: dict[str, str]

    def do_begin(self, dbapi_connection: PoolProxiedConnection) -> None:
        savepoint = dbapi_connection.info[SAVEPOINT] = Savepoint()
        self.shared.savepoints.begin(savepoint)
        settings = dbapi_connection.info[_SETTINGS] = LocalSettings(self.shared)
        settings.change(self.local)

    def do_commit(self, dbapi_connection: PoolProxiedConnection) -> None:
        refuse_end(dbapi_connection, self.do_rollback)
        savepoint = dbapi_connection.info.pop(SAVEPOINT)
        try:
            self.check()
        except BaseException as error:
            self.shared.undo(savepoint)  # as the database does when COMMIT fails
            if isinstance(error, Exception) and self.shared.savepoints.others_wrote(savepoint):
                raise SandboxError(
                    f"A deferred constraint is violated ({error}), and the sandbox cannot know which "
                    "session violates it: another one, on the same connection, has written and not "
                    "committed yet. End one before the other writes, or use isolated_database."
                ) from error
            raise
        dbapi_connection.info[_SETTINGS].restore()
        self.shared.savepoints.commit(savepoint)

    def do_rollback(self, dbapi_connection: PoolProxiedConnection) -> None:
        forget_failure(dbapi_connection)
        savepoint = dbapi_connection.info.pop(SAVEPOINT, None)
        if self.shared.broken:
            return
        if savepoint is not None:
            self.shared.savepoints.rollback(savepoint)
        if _SETTINGS in dbapi_connection.info:
            dbapi_connection.info[_SETTINGS].undo()

    def do_savepoint(self, connection: Connection, name: str) -> None:
        refuse_savepoint_in_autocommit(connection)
        savepoint = Savepoint(owner=connection.info[SAVEPOINT])
        connection.info[SAVEPOINT, name] = self.shared.savepoints.begin(savepoint)

    def do_rollback_to_savepoint(self, connection: Connection, name: str) -> None:
        forget_failure(connection)
        self.shared.savepoints.rollback(connection.info.pop((SAVEPOINT, name)))

    def do_release_savepoint(self, connection: Connection, name: str) -> None:
        refuse_end(connection, self.do_rollback_to_savepoint, name)
        self.shared.savepoints.release(connection.info.pop((SAVEPOINT, name)))

    def around(self, execute: Execute) -> Execute:
        def run(cursor: object, statement: str, *rest: Any) -> None:
            refuse_transaction_end(statement, self.shared.dialect)
            context = rest[-1]
            refuse_stream_in_autocommit(cursor, context)
            connection = context.root_connection.connection
            self._prepare(connection.info, statement, rest[0])
            try:
                with refusing_writes(self.shared, cursor, statement, context):
                    self.shared.execute(execute, cursor, statement, *rest)
            except BaseException as error:
                self._fail(connection, error)
                raise
            if commits_itself(context.execution_options):
                self._commit_itself(connection)

        return run

    def _prepare(self, info: dict[Any, Any], statement: str, parameters: Any) -> None:
        savepoint = info[SAVEPOINT]
        self.shared.savepoints.refuse_gone(savepoint)
        if not only_reads(statement) or calls_writer(self.shared, statement, savepoint):
            self.shared.savepoints.note_write(savepoint)
        self.shared.note(statement)
        info[_SETTINGS].keep_what_changes(statement, parameters)

    def _fail(self, connection: PoolProxiedConnection, error: BaseException) -> None:
        """Leave the connection to the next session as it would find it in production."""
        if not isinstance(error, Exception):  # cancelled
            self.shared.undo(connection.info.pop(SAVEPOINT))
            return
        self.shared.look()
        if self.shared.mark_broken_if_ended("the database has rolled back the whole of it"):
            pass  # so does SQLite when the disk is full, or MySQL after a deadlock
        elif self.drops(self.shared.connection, error):
            self.shared.revive(connection.info[SAVEPOINT])

    def _commit_itself(self, connection: PoolProxiedConnection) -> None:
        try:
            self.do_commit(connection)
        finally:
            self.do_begin(connection)


def reading(shared: SharedConnection) -> Dialect:
    """Return a dialect for autocommit reads: a statement that fails undoes nothing else."""

    def around(execute: Execute) -> Execute:
        def run(cursor: object, statement: str, *rest: Any) -> None:
            savepoint = Savepoint()
            settings = LocalSettings(shared)
            try:
                shared.savepoints.begin(savepoint)
                if calls_writer(shared, statement, savepoint):
                    shared.savepoints.note_write(savepoint)
                shared.note(statement)
                settings.keep_what_changes(statement, rest[0])
                with refusing_writes(shared, cursor, statement, rest[-1]):
                    shared.execute(execute, cursor, statement, *rest)
                settings.restore()
            except BaseException:
                shared.undo(savepoint)
                raise
            shared.savepoints.commit(savepoint)

        return run

    dialect = _plain(shared)
    _put(dialect, do_begin=_nothing, do_commit=end_streams, do_rollback=end_streams)
    stream_in(dialect, NOTHING)
    surround_statements(dialect, lambda execute: _alone(shared, around(execute)))
    return dialect


def _plain(shared: SharedConnection) -> Dialect:
    """Return a dialect that closes nothing, and does not change the isolation level.

    It fetches results completely, also when they are streamed: a cursor on the server would use the
    connection at the same time as other sessions.
    """
    # Not the dialect of a sandbox around this one, which would check the statements of this one.
    original = getattr(shared.dialect, _ORIGINAL, shared.dialect)
    dialect = copy.copy(original)
    setattr(dialect, _ORIGINAL, original)
    _put(dialect, do_close=_nothing, do_terminate=_nothing, connection_characteristics={})
    context: Any = original.execution_ctx_cls
    _put(dialect, execution_ctx_cls=reading_whole(context))
    return dialect


def _alone(shared: SharedConnection, method: Callable[..., None]) -> Callable[..., None]:
    """Let no other task use the connection while the method runs."""

    def run(*arguments: Any) -> None:
        with shared.alone():
            method(*arguments)

    return run


def _put(dialect: Dialect, **members: object) -> None:
    """Replace methods of one dialect; events would be shared with the one it was copied from."""
    for name, member in members.items():
        setattr(dialect, name, member)


def _nothing(*arguments: object) -> None:
    pass
