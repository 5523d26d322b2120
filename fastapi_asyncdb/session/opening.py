"""``SessionOpener``: opens the sessions of one ``Database``, on the engines of the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from fastapi_asyncdb.engine.running_sessions import RunningSessions
from fastapi_asyncdb.engine.runs import Runs
from fastapi_asyncdb.options import (
    PLAIN,
    SessionArguments,
    SessionOptions,
    TransactionOptions,
    session_arguments,
    transaction_options,
)
from fastapi_asyncdb.pool.checkout_warnings import CheckoutWatch
from fastapi_asyncdb.session.managed import ManagedSession, managed
from fastapi_asyncdb.session.on_begin import OnBegin, first_step, refuse_autocommit
from fastapi_asyncdb.session.open_sessions import refuse_inside_transaction, remember
from fastapi_asyncdb.session.scopes import SessionScope
from fastapi_asyncdb.session.sessionmaker import ManagedSessionmaker, WhileInTransaction
from fastapi_asyncdb.session.state import SessionState
from fastapi_asyncdb.session.sync_session import ManagedSyncSession
from fastapi_asyncdb.settings import DatabaseSettings

S = TypeVar("S", bound=AsyncSession)


class SessionOpener(Generic[S]):
    """Open the sessions of one ``Database``.

    Args:
        runs: The engines of the ``Database``.
        session_class: The user's own; ``None`` is ``AsyncSession``.
        on_begin: Awaited first in each transaction, if there is one.
        arguments: Of each session.

    Raises:
        ConfigurationError, TypeError: the arguments are not those of sessions here.
    """

    def __init__(
        self,
        runs: Runs,
        session_class: type[S] | None,
        on_begin: OnBegin[S] | None,
        arguments: SessionArguments,
    ) -> None:
        self._runs = runs
        own_class = session_class or cast("type[S]", AsyncSession)
        chosen = session_arguments(arguments)
        self._new_plain = partial(own_class, **chosen)
        self._new_managed = partial(managed(own_class), **chosen)
        self._on_begin = on_begin

    def declare(
        self, options: SessionOptions, settings: DatabaseSettings | None
    ) -> TransactionOptions:
        """Check options now, as far as the settings are known, and again at each start.

        Raises:
            ConfigurationError: the options contradict each other, or the database does not have them.
            TypeError: there is no such option.
        """
        chosen = transaction_options(options)
        refuse_autocommit(self._on_begin, chosen)
        return self._runs.configuration.declare(chosen, settings)

    def scope(self, options: SessionOptions) -> SessionScope[S]:
        """Return a block that opens a session, and ends it.

        Raises:
            ConfigurationError: as for ``declare``, except for what only the database knows.
            TypeError: there is no such option.
        """
        return self._scope(transaction_options(options))

    def repeatable_scope(self, options: SessionOptions) -> Callable[[], SessionScope[S]]:
        """Return a function that makes such a block for each attempt of ``run_in_transaction``.

        Raises:
            ConfigurationError: the options contradict each other.
            TransactionInProgress: a session around the running code is in a transaction.
            TypeError: there is no such option.
        """
        chosen = transaction_options(options)
        refuse_inside_transaction(self._runs)
        return partial(self._scope, chosen, repeated=True)

    def _scope(self, options: TransactionOptions, *, repeated: bool = False) -> SessionScope[S]:
        refuse_autocommit(self._on_begin, options)
        return SessionScope(partial(self.open, options), repeated=repeated)

    def open(self, options: TransactionOptions, connection: object = None) -> S:
        """Open a session; the caller ends it.

        Args:
            options: Of each transaction.
            connection: The request's ``HTTPConnection``, or ``None`` outside of requests.

        Raises:
            DatabaseNotStarted: outside of requests. A request may need no connection: it fails at the
                first use of the session instead.
            DatabaseStopping: likewise, while the database stops.
        """
        find = self._runs.required if connection is None else self._runs.current
        engines = find(opens=True)
        step = self._on_begin and first_step(self._on_begin, self._new_plain, connection)
        if engines is None:
            late = partial(self._runs.bound_engine, options)
            session = _open(
                self._new_managed, None, request=connection, first_step=step, late_bind=late
            )
        else:
            server = engines if engines.replicas is None else engines.serving(options, connection)
            session = _open(
                self._new_managed,
                server.bound(options),
                in_place=server.ends_in_place or options.autocommit,
                reads=options.autocommit,
                request=connection,
                watch=server.checkouts,
                first_step=step,
                running=engines.sessions,
            )
            if server is not engines and connection is not None:
                self._runs.clients.call_when_written(session._asyncdb.connections.leave)
        if not options.autocommit:
            remember(self._runs, session)
        return cast(S, session)

    @property
    def sessionmaker(self) -> ManagedSessionmaker[S]:
        """A new ``async_sessionmaker`` for the sessions, which its user may configure."""
        new = self._new_managed
        return ManagedSessionmaker(self._open_made, cast("type[S]", new.func), **new.keywords)

    def _open_made(self, new_session: Callable[[], S]) -> S:
        engines = self._runs.required(opens=True)
        engines.bound(PLAIN)  # a sandbox counts on it to see that a session is opened
        step = self._on_begin and first_step(self._on_begin, self._new_plain, None)
        session = _open(
            lambda *args, **kwargs: cast(ManagedSession, new_session()),
            None,
            watch=engines.checkouts,
            first_step=step,
            late_bind=partial(self._runs.bound_engine, PLAIN),
            binds_anew=True,
        )
        engines.sessions[session] = WhileInTransaction(session._asyncdb)
        remember(self._runs, session)
        return cast(S, session)

    def pool_size(self) -> int:
        """Return how many connections the pool for reading keeps open.

        Raises:
            DatabaseNotStarted: there is no pool.
        """
        pool: Any = self._runs.required().read.pool
        return int(pool.size())

    def open_on(self, engine: AsyncEngine) -> S:
        """Open a session on this engine, for the testing kit; the caller ends its transactions."""
        step = self._on_begin and first_step(self._on_begin, self._new_plain, None)
        return cast(S, _open(self._new_managed, engine, first_step=step))


def _open(
    new_session: Callable[..., ManagedSession],
    engine: AsyncEngine | None,
    *,
    in_place: bool = False,
    reads: bool = False,
    request: object = None,
    watch: CheckoutWatch | None = None,
    first_step: Callable[[Connection], None] | None = None,
    late_bind: Callable[[], Engine] | None = None,
    binds_anew: bool = False,
    running: RunningSessions | None = None,
) -> ManagedSession:
    """Open a session and give it its state, whose arguments these are; note it as running."""
    session = new_session(engine)
    sync_session = cast(ManagedSyncSession, session.sync_session)
    if in_place and type(sync_session).get_bind is not ManagedSyncSession.get_bind:
        in_place = False  # a user's own get_bind may choose another engine, and a commit connect
    session._asyncdb = sync_session._asyncdb = SessionState(
        sync_session,
        in_place=in_place,
        reads=reads,
        request=request,
        watch=watch,
        first_step=first_step,
        late_bind=late_bind,
        binds_anew=binds_anew,
    )
    if running is not None:
        running[session] = session._asyncdb
    return session
