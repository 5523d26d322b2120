"""``Database``: starts and stops the engines, opens sessions, makes FastAPI's dependencies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from functools import cached_property, partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypeVarTuple, Unpack

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from typing_extensions import TypeVar

from fastapi_asyncdb.credentials import PasswordFunction
from fastapi_asyncdb.dependencies import SessionDependency, session_dependency
from fastapi_asyncdb.engine import event_loop
from fastapi_asyncdb.engine.in_doubt import outcome_of
from fastapi_asyncdb.engine.runs import Runs
from fastapi_asyncdb.errors import Outcome
from fastapi_asyncdb.options import SessionArguments, SessionOptions
from fastapi_asyncdb.pool.status import PoolStatus
from fastapi_asyncdb.session.gather import Gather
from fastapi_asyncdb.session.on_begin import OnBegin
from fastapi_asyncdb.session.opening import SessionOpener
from fastapi_asyncdb.session.retry import Attempts
from fastapi_asyncdb.session.transactions import WithSession, decorator, repeat
from fastapi_asyncdb.settings import DatabaseSettings

if TYPE_CHECKING:
    from fastapi_asyncdb.migrations.progress import AppliedRevision

S = TypeVar("S", bound=AsyncSession, default=AsyncSession)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")
P = ParamSpec("P")


class Database(Generic[S]):
    """One database of an application.

    It reads no settings and opens no connection before its start. It may be started several times, and
    on several event loops, which have connections of their own; the last stop closes them. What needs a
    connection raises ``DatabaseNotStarted`` before the start, after the stop, and on other event loops.
    Generic over the session class: ``Database(session_class=MySession)`` is a ``Database[MySession]``.

    Args:
        settings: Where the database is; ``None`` reads ``DATABASE_*`` at each start.
        password: Called for each new connection, for passwords that change; sync or async. Returns a
            ``str``, a ``SecretStr``, or ``Credentials``, which are kept until they expire.
        session_class: Your own subclass of ``AsyncSession``, if you have one.
        metadata: The tables that ``auto_create_tables`` creates.
        on_begin: Awaited first in each transaction that writes or is a snapshot, with a session on its
            connection and the ``HTTPConnection``, ``None`` outside of requests. For settings such as
            the tenant of row-level security. If it raises, the transaction is rolled back.
            https://www.postgresql.org/docs/current/ddl-rowsecurity.html
        **session_arguments: Of each of its sessions: ``autoflush``, ``expire_on_commit``, ``info``.

    Raises:
        ConfigurationError: an argument of SQLAlchemy's ``Session`` contradicts a promise.
    """

    def __init__(
        self,
        settings: DatabaseSettings | None = None,
        *,
        password: PasswordFunction | None = None,
        session_class: type[S] | None = None,
        metadata: MetaData | None = None,
        on_begin: OnBegin[S] | None = None,
        **session_arguments: Unpack[SessionArguments],
    ) -> None:
        self.settings = settings
        self.metadata = metadata
        self._runs = Runs(type(self).__name__, password, lambda: self.settings)
        self._sessions = SessionOpener(self._runs, session_class, on_begin, session_arguments)

    def __repr__(self) -> str:
        return repr(self._runs)

    def configure(self, settings: DatabaseSettings) -> None:
        """Use these settings from the next start on: ``default_database.configure(settings)``.

        Args:
            settings: The latest call counts. Those of a single start come before them, as in
                ``create_lifespan(settings)``, and so do those of ``override_settings()``.

        Raises:
            ConfigurationError: it runs.
        """
        self._runs.refuse_running("Configure it before it starts, or stop it first.")
        self.settings = settings

    async def start(
        self,
        settings: DatabaseSettings | None = None,
        *,
        create_tables: MetaData | None = None,
        require_connection: bool = True,
    ) -> None:
        """Build the engines and open the first connection; each start asks for one ``stop()``.

        Args:
            settings: For this run, instead of the ``Database``'s own.
            create_tables: Create the tables that are missing. For development: nothing is altered.
            require_connection: ``False`` tries once and goes on without a connection: the cause is
                logged, and requests get 503 until one can be made, also after a wrong password.

        Raises:
            ConfigurationError: wrong or other settings, or tables to create without a connection.
            AutoCreateTablesProductionError: tables to create, and ``environment`` is production.
            DatabaseUnavailable: no connection within ``startup_timeout`` seconds.
            SandboxError: a test on another event loop has it in a sandbox.
        """
        await self._runs.start(
            settings or self.settings, tables=create_tables, require_connection=require_connection
        )

    async def stop(self) -> None:
        """Close all connections, if this ends the last start on this event loop.

        New sessions are refused. Those that are open have ``shutdown_timeout`` seconds to end; then the
        tasks that opened them are cancelled, except for the calling one.
        """
        await self._runs.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    @asynccontextmanager
    async def lifespan(
        self, app: Any = None, *, require_connection: bool = True
    ) -> AsyncIterator[None]:
        """Run the database while the application runs: ``FastAPI(lifespan=database.lifespan)``.

        Args:
            app: The application, which FastAPI passes.
            require_connection: As in ``start()``.
        """
        await self.start(require_connection=require_connection)
        try:
            yield
        finally:
            await self.stop()

    def run(
        self, main: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Start the database, await ``main(*args, **kwargs)`` and stop it: for scripts and commands.

        ``asyncio.run()`` with the database started: the same event loop, the same KeyboardInterrupt.

        Args:
            main: A coroutine function, which opens sessions with ``session()``.
            *args: Passed to ``main``.
            **kwargs: Passed to ``main``.

        Raises:
            RuntimeError: an event loop runs in this thread already.
            TypeError: ``main`` is the coroutine of a call, as ``asyncio.run()`` takes it.
            Exception: what ``start()`` or ``main`` raises.
        """
        return event_loop.run(self, main, *args, **kwargs)

    def override_settings(self, settings: DatabaseSettings) -> AbstractContextManager[None]:
        """Use these settings for each start in the block, also for a lifespan's that has its own.

        Raises:
            ConfigurationError: the database runs when the block begins, or when it has ended well.
        """
        return self._runs.override_settings(settings)

    async def ping(self, *, timeout: float | None = None) -> float:  # noqa: ASYNC109
        """Return the seconds that the database takes to answer, on a connection outside of the pool.

        Args:
            timeout: Seconds to wait; ``None`` is ``connect_timeout``.

        Raises:
            DatabaseStopping: it is being stopped.
            DatabaseUnavailable: there is no connection, or no answer in time; the message has the cause.
        """
        return await self._runs.ping(timeout)

    async def upgrade(
        self,
        revision: str = "head",
        *,
        config: str | PathLike[str] | None = None,
        wait: float | None = None,
    ) -> list[AppliedRevision]:
        """Apply the migrations that the database lacks, one process at a time; started or not.

        Args:
            revision: Up to this one.
            config: The pyproject.toml or alembic.ini; by default as ``MigrationConfig.load()`` finds it.
            wait: Seconds to wait for another process that migrates; ``None`` is no limit.

        Returns:
            The revisions that were applied.

        Raises:
            ConfigurationError, DatabaseUnavailable, MigrationError: as ``Migrator.upgrade()``.
        """
        # Imported late: most processes do not migrate, and Alembic takes long to import.
        from fastapi_asyncdb.migrations.migrator import migrator_of

        return await migrator_of(self, file=config).upgrade(revision, wait=wait)

    @property
    def engine(self) -> AsyncEngine:
        """The writing engine: SQLAlchemy's, and there before the start."""
        return self._runs.late.write

    @property
    def read_engine(self) -> AsyncEngine:
        """The reading engine: autocommit, refuses writes."""
        return self._runs.late.read

    @property
    def sessionmaker(self) -> async_sessionmaker[S]:
        """A new ``async_sessionmaker``, for libraries that want one; there before the start.

        Its sessions are those of ``session()``, except that the caller ends their transactions.
        """
        return self._sessions.sessionmaker

    def pool_status(self) -> PoolStatus:
        """Return the numbers of the pool: connections in use and idle, waiters, the longest checkout."""
        return self._runs.required().pool_status()

    def session(self, **options: Unpack[SessionOptions]) -> AbstractAsyncContextManager[S]:
        """Open a session for a job, a script or a socket message.

        The session commits when the block ends, rolls back on any exception, and refuses use after it.

        Args:
            **options: Of each of its transactions: see ``SessionOptions``.

        Raises:
            ConfigurationError: the options contradict each other, or the database does not have them.
            TypeError: there is no such option.
        """
        return self._sessions.scope(options)

    def read_session(self, *, primary: bool = False) -> AbstractAsyncContextManager[S]:
        """Open a session that reads: one round trip a statement, no transaction, writes refused.

        Args:
            primary: Read from the primary although there are replicas.

        Raises:
            ConfigurationError: there is an ``on_begin``, for which there is no transaction.
            ReadOnlySession: at the statement that would write, or lock rows.
        """
        return self._sessions.scope({"read_only": True, "primary": primary})

    @cached_property
    def gather(self) -> Gather[S]:
        """Run a few reads side by side: ``await database.gather(work, work, limit=None)``."""
        return Gather(self._sessions)

    async def run_in_transaction(
        self,
        work: Callable[[S, *Ts], Awaitable[T]],
        *args: *Ts,
        attempts: int = 5,
        deadline: float | None = 30.0,
        **options: Unpack[SessionOptions],
    ) -> T:
        """Run ``await work(session, *args)`` in its own transaction, again if it meets a conflict.

        After a serialization failure, a deadlock, or SQLite being busy the work runs again, in a new
        session, after a random pause that grows. Any other error ends it, also a lost connection. What
        it does outside of the database belongs into ``on_commit``.

        Args:
            work: A coroutine function whose first argument is the session.
            *args: Passed to ``work``.
            attempts: How often to run it altogether.
            deadline: Seconds after which no further attempt starts; ``None`` is no limit.
            **options: As for ``session()``.

        Returns:
            The result of the attempt that was committed.

        Raises:
            ConfigurationError: ``attempts`` below 1, ``deadline`` below 0, or as for ``session()``.
            TransactionInProgress: a session of this ``Database`` around the call is in a transaction.
            Exception: the last attempt's own, with a note of how many there were.
        """
        tries = Attempts(attempts, deadline)
        open_session = self._sessions.repeatable_scope(options)
        return await repeat(lambda session: work(session, *args), open_session, tries)

    def transactional(
        self,
        *,
        attempts: int = 5,
        deadline: float | None = 30.0,
        **options: Unpack[SessionOptions],
    ) -> Callable[[WithSession[S, P, T]], Callable[P, Coroutine[Any, Any, T]]]:
        """Make a function run in its own transaction: the decorator of ``run_in_transaction``.

        The first argument of the function is the session; its callers leave that out.

        Args:
            attempts: As for ``run_in_transaction``, with the same errors.
            deadline: As for ``run_in_transaction``.
            **options: As for ``session()``.
        """
        Attempts(attempts, deadline)
        self._sessions.declare(options, self.settings)
        return decorator(
            partial(self.run_in_transaction, attempts=attempts, deadline=deadline, **options)
        )

    async def transaction_outcome(self, transaction_id: int) -> Outcome:
        """Look up the outcome of a transaction, as ``CommitOutcomeUnknown.resolve`` does.

        Args:
            transaction_id: The result of ``remember_transaction_id``.
        """
        return await outcome_of(self._runs.required().read, transaction_id)

    @cached_property
    def get_db(self) -> SessionDependency[S]:
        """The dependency for writing: ``DB = Annotated[AsyncSession, Depends(database.get_db)]``."""
        return self.dependency()

    @cached_property
    def get_read_db(self) -> SessionDependency[S]:
        """The dependency for reading: ``Annotated[AsyncSession, Depends(database.get_read_db)]``."""
        return self.dependency(read_only=True)

    @cached_property
    def get_snapshot_db(self) -> SessionDependency[S]:
        """The dependency for reports: all statements see one state, and writes are refused."""
        return self.dependency(isolation_level="REPEATABLE READ", read_only=True)

    def dependency(self, **options: Unpack[SessionOptions]) -> SessionDependency[S]:
        """Make a further dependency, with a session and a transaction of its own per request.

        Args:
            **options: Of each of its transactions: see ``SessionOptions``.

        Raises:
            ConfigurationError: as for ``session()``, or at the start if there are no settings.
            TypeError: there is no such option.
        """
        declared = self._sessions.declare(options, self.settings)
        return session_dependency(partial(self._sessions.open, declared))
