"""PostgreSQL: what its drivers are given at connect, the timeouts above all."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any, cast

from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from fastapi_asyncdb.dialects.autocommit import with_connection_options
from fastapi_asyncdb.dialects.base import Diagnosis, connect_timeout
from fastapi_asyncdb.dialects.calls import KEEPS_STATEMENT_TIMEOUT, STATEMENT_TIMEOUT
from fastapi_asyncdb.dialects.masked import supplier
from fastapi_asyncdb.dialects.postgresql.errors import diagnose, no_answer
from fastapi_asyncdb.dialects.postgresql.failover import leave_read_only_servers
from fastapi_asyncdb.dialects.postgresql.hosts import connect_in_turn, connect_psycopg_in_turn
from fastapi_asyncdb.dialects.postgresql.keepalive import KEEPALIVES, keepalive_arguments, shut_down
from fastapi_asyncdb.dialects.postgresql.losses import loss
from fastapi_asyncdb.dialects.postgresql.plans import renew_plans
from fastapi_asyncdb.dialects.postgresql.server_settings import seconds_of, split_options
from fastapi_asyncdb.dialects.postgresql.tls import asyncpg_ssl, libpq_arguments
from fastapi_asyncdb.dialects.reading_streams import Snapshot, stream_in
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.tracebacks import causes

logger = logging.getLogger(__name__)

# Seconds to wait for the server when a connection is given up, as in SQLAlchemy.
_GOODBYE = 2.0
# libpq's PQTRANS_ACTIVE: a command is in progress.
_ACTIVE = 1
_APPLICATION_NAME = "fastapi_asyncdb"
# Any constant will do, as long as nobody else uses it: "asyncdb" in ASCII.
_SCHEMA_LOCK = int.from_bytes(b"asyncdb")


class PostgreSQL:
    """The preset for asyncpg and psycopg."""

    needs_ping = True
    separate_readers = False

    def install_hint(self, target: Target) -> str:
        """Return the extra that brings asyncpg, or psycopg itself."""
        if target.url.get_driver_name() == "psycopg":
            return "'psycopg[binary]'"
        return "'fastapi-asyncdb[postgresql]'"

    def resolve(self, target: Target) -> Target:
        """Return the target as it is."""
        return target

    def engine_options(
        self, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> dict[str, Any]:
        """Send the timeouts once per connection, in the startup message. The URL's own values win."""
        if target.url.get_driver_name() == "psycopg":
            return {"connect_args": _psycopg_arguments(target, settings)}
        return {"connect_args": _asyncpg_arguments(target, settings)}

    def configure(self, engine: AsyncEngine, target: Target, *, read_only: bool) -> None:
        """Even out what the drivers differ in; the rest was said in the startup message."""
        stream_in(engine.sync_engine.dialect, _READ_ONLY)
        if target.url.get_driver_name() == "psycopg":
            event.listen(engine.sync_engine, "checkin", _forget_read_only)
        _raise_own_errors(engine.sync_engine.dialect)
        renew_plans(engine)
        leave_read_only_servers(engine, target)

    def check(self, options: TransactionOptions) -> None:
        """Accept everything."""

    def bind(
        self, options: TransactionOptions, write: AsyncEngine, read: AsyncEngine
    ) -> AsyncEngine:
        """Say in BEGIN what BEGIN can say, and set the timeouts with the first statement after it.

        Both are gone with the transaction, behind a pooler as well.
        https://www.postgresql.org/docs/current/sql-begin.html
        """
        said: dict[str, Any] = {"isolation_level": options.isolation_level}
        if options.statement_timeout is not None:
            said[STATEMENT_TIMEOUT] = options.statement_timeout
        if options.read_only:
            said |= {"postgresql_readonly": True, "postgresql_deferrable": options.deferrable}
        engine = with_connection_options(
            write, **{name: value for name, value in said.items() if value is not None}
        )
        if options.timeouts:
            event.listen(engine.sync_engine, "begin", _set_timeouts(options.timeouts))
        return engine

    async def discard(self, connection: DBAPIConnection) -> bool:
        """Close it; asyncpg waits for the query that it has cancelled, within its time."""
        driver: Any = getattr(connection, "driver_connection", None)
        terminate: Any = getattr(connection, "terminate", None)
        try:
            async with asyncio.timeout(_GOODBYE):
                await driver.close()
        except Exception:
            logger.info("A connection was discarded without a goodbye.", exc_info=True)
            return False
        else:
            return True
        finally:
            # Without waiting, since no greenlet is here: it forgets the transaction too.
            if terminate is not None:
                terminate()

    def statement_timeout(self, target: Target, settings: DatabaseSettings) -> float:
        """Return what the URL says, or else the settings."""
        given = target.connect_args.get("server_settings")
        if given is None:
            given, _ = split_options(target.connect_args.get("options", ""))
        if "statement_timeout" in given:
            return seconds_of(given["statement_timeout"])
        return settings.statement_timeout or 0.0

    def cut(self, connection: DBAPIConnection) -> None:
        """Close its socket, which wakes up what waits there."""
        driver: Any = connection.driver_connection
        if hasattr(driver, "terminate"):
            driver.terminate()
        elif not driver.closed:
            # Not closed, since the event loop would not hear of it.
            shut_down(driver.pgconn.socket)

    def ends_in_place(self, target: Target) -> bool:
        """Tell asyncpg, whose timeouts are timers, from psycopg, which waits for sockets in tasks."""
        return target.url.get_driver_name() == "asyncpg"

    def awaits_answer(self, connection: DBAPIConnection) -> bool:
        """Ask the adapter for asyncpg, and libpq."""
        driver: Any = connection.driver_connection
        if hasattr(driver, "pgconn"):
            return bool(driver.pgconn.transaction_status == _ACTIVE)
        return bool(cast(Any, connection)._execute_mutex.locked())

    def loss(self, connection: DBAPIConnection, error: BaseException) -> str | None:
        """Look at the server's last message, and at what TCP says."""
        driver = getattr(connection, "driver_connection", None)
        return loss(error, getattr(driver, "farewell", {}))

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Take an advisory lock, because CREATE TABLE IF NOT EXISTS fails in a race."""
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})

    def drops_transaction(self, connection: DBAPIConnection, error: BaseException) -> bool:
        """Tell whether the server said so: each error of its own does, none of the driver's."""
        return any(_severity(cause) is not None for cause in causes(error))

    def diagnose(self, error: BaseException, target: Target) -> Diagnosis:
        """Classify by what is surest: SQLSTATE, else the words, else the kind of exception."""
        return diagnose(error)


class _ReadOnlyTransaction(Snapshot):
    """A transaction that sees one state and refuses to write.

    The driver says so in BEGIN, before the first cursor. Nothing of it outlives the transaction.
    https://www.postgresql.org/docs/current/sql-begin.html
    """

    def begin(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Say what the driver is to begin with."""
        cast(Any, dialect).set_readonly(connection, value=True)
        dialect.set_isolation_level(connection, "REPEATABLE READ")

    def end(self, connection: DBAPIConnection) -> None:
        """Commit."""
        # Past the dialect: nothing was written, and so no outcome is unknown.
        connection.commit()

    def leave(self, dialect: Dialect, connection: DBAPIConnection) -> None:
        """Say that each statement is on its own again."""
        cast(Any, dialect).set_readonly(connection, value=False)
        dialect.set_isolation_level(connection, "AUTOCOMMIT")


_READ_ONLY = _ReadOnlyTransaction()


def _severity(error: BaseException) -> object:
    """Return the server's word for how bad it is; the drivers' own errors have none."""
    # asyncpg has the field on the error, psycopg on its "diag".
    return getattr(error, "severity", None) or getattr(
        getattr(error, "diag", None), "severity", None
    )


def _asyncpg_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    told = {"application_name": _APPLICATION_NAME, **_timeouts(settings)}
    given = dict(target.connect_args)
    return {
        "timeout": connect_timeout(target, settings) or None,
        "ssl": asyncpg_ssl(target.tls),
        **_password(target),
        "server_settings": {**told, **given.pop("server_settings", {})},
        "async_creator_fn": partial(
            _connect_asyncpg, keepalives=keepalive_arguments(settings.tcp_keepalive, given)
        ),
        **{name: value for name, value in given.items() if name not in KEEPALIVES},
    }


def _psycopg_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    given = dict(target.connect_args)
    # Of two values for one setting, the server takes the last.
    told = [f"-c {name}={value}" for name, value in _timeouts(settings).items()]
    options = " ".join([*told, *filter(None, [given.pop("options", "")])])
    return {
        "application_name": _APPLICATION_NAME,
        # Whole seconds, as in libpq, of which psycopg makes 1 into 2.
        "connect_timeout": math.ceil(connect_timeout(target, settings)),
        "options": options,
        "async_creator_fn": _connect_psycopg,
        **libpq_arguments(target.tls),
        **_password(target),
        **given,
        **keepalive_arguments(settings.tcp_keepalive, given),
    }


def _password(target: Target) -> dict[str, Callable[[], str]]:
    """Return a function in its place, asyncpg's own way: SQLAlchemy keeps arguments in its frames."""
    return {"password": supplier(target.url.password)} if target.url.password else {}


def _raise_own_errors(dialect: Dialect) -> None:
    """Let the driver raise what prevents a connection as an error of the DBAPI, with words.

    SQLAlchemy wraps no other, and whoever catches ``DBAPIError`` would miss a database that is down.
    asyncpg has several others; psycopg does not say what has expired.
    """
    # In the dialect's own method, since the first listener that connects keeps a user's from it.
    connect, errors = dialect.connect, dialect.loaded_dbapi

    def connect_in_words(*arguments: Any, **options: Any) -> DBAPIConnection:
        try:
            return connect(*arguments, **options)
        except Exception as error:
            words = no_answer(error, options.get("timeout") or options.get("connect_timeout"))
            if words is None and isinstance(error, errors.Error):
                raise
            if isinstance(error, OSError | errors.Error) or hasattr(error, "sqlstate"):
                plain = f"{type(error).__name__}: {error}".rstrip(": ")
                raise errors.OperationalError(words or plain) from error
            raise

    dialect.connect = connect_in_words  # type: ignore[method-assign]


async def _connect_asyncpg(
    *, keepalives: Mapping[str, int], host: Any = None, **options: Any
) -> Any:
    # Imported late, since whoever uses psycopg does not have asyncpg.
    import asyncpg

    from fastapi_asyncdb.dialects.postgresql.asyncpg import AsyncpgConnection

    connect: Any = connect_in_turn if isinstance(host, list) else asyncpg.connect
    connection = await connect(host=host, connection_class=AsyncpgConnection, **options)
    connection.keep_alive(keepalives)
    return connection


async def _connect_psycopg(*args: Any, **options: Any) -> Any:
    # Imported late, since whoever uses asyncpg does not have psycopg.
    from fastapi_asyncdb.dialects.postgresql.psycopg import PsycopgConnection

    for name in ("password", "sslpassword"):
        if callable(options.get(name)):
            supplied = options[name]()
            options[name] = await supplied if isawaitable(supplied) else supplied
    return await connect_psycopg_in_turn(PsycopgConnection.connect, *args, **options)


def _timeouts(settings: DatabaseSettings) -> dict[str, str]:
    """Return server settings in milliseconds, PostgreSQL's unit."""
    seconds = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
    }
    return {name: str(milliseconds(value)) for name, value in seconds.items() if value is not None}


def milliseconds(seconds: float) -> int:
    """Return PostgreSQL's unit; what is asked for is not rounded down to 0, which is no limit."""
    return math.ceil(seconds * 1000)


def _set_timeouts(timeouts: dict[str, float]) -> Callable[[Connection], None]:
    """Make a listener that sets them until the transaction ends, in one statement.

    https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET
    """
    local = True
    settings = (
        func.set_config(name, str(milliseconds(value)), local) for name, value in timeouts.items()
    )
    statement = select(*settings).execution_options(**{KEEPS_STATEMENT_TIMEOUT: True})

    def set_timeouts(connection: Connection) -> None:
        connection.execute(statement)

    return set_timeouts


def _forget_read_only(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    """Leave it to the server again whether transactions only read.

    SQLAlchemy puts back READ WRITE, which psycopg sends with each BEGIN from then on, against
    ``default_transaction_read_only``, and to the dismay of a standby.
    """
    adapted = cast(Any, connection)
    if adapted is None or adapted.driver_connection.closed:
        return
    if adapted.driver_connection.read_only is not None:
        adapted.set_read_only(None)
    if adapted.driver_connection.deferrable is not None:
        adapted.set_deferrable(None)
