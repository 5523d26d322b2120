"""``SessionConnections``: what one session has checked out, its streams, and when it returns them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from weakref import ref

from sqlalchemy import Connection
from sqlalchemy.orm import Session, SessionTransactionOrigin

from fastapi_asyncdb.concurrency import greenlet, greenlet_spawn
from fastapi_asyncdb.dialects.reading_streams import Streams, open_streams
from fastapi_asyncdb.pool.checkout_warnings import Checkout, CheckoutWatch
from fastapi_asyncdb.session.tasks import SessionTasks


class SessionConnections:
    """The connections that one session has checked out.

    A transaction needs its connection until it ends. A session that reads in autocommit needs none
    between two statements: it returns its connection after each call, and in the handler of an HTTP
    request when the handler is done.

    Args:
        session: The session.
        tasks: The tasks that use it.
        reads: Whether it reads in autocommit.
        request: The request's ``HTTPConnection``, or ``None`` outside of requests.
        watch: Warns of a connection that is checked out for too long.
    """

    __slots__ = (
        "__weakref__",
        "_checkout",
        "_loading",
        "_returning",
        "_session",
        "_watch",
        "in_use",
        "keeps",
        "reads",
        "releases",
        "releasing",
        "request",
        "streams",
        "tasks",
    )

    def __init__(
        self,
        session: Session,
        tasks: SessionTasks,
        *,
        reads: bool,
        request: object,
        watch: CheckoutWatch | None,
    ) -> None:
        self._session = ref(session)  # weak, as that of its state
        self.tasks = tasks
        self.reads = self.releases = reads
        """Whether it reads in autocommit; whether it returns its connection after each call."""
        self.request = request
        self._watch = watch
        self._checkout: Checkout | None = None
        self.in_use: tuple[Connection, ...] = ()
        """Those that take part in the transaction."""
        self.keeps = False
        """Whether one is needed until the transaction ends: ``connection()`` has handed it out, or it is
        to another database, where there may be something to commit."""
        self.releasing = False
        """Whether the end of SQLAlchemy's transaction is no more than the return of a connection."""
        self.streams: Streams | None = None
        """The streams of a reading session, once it has opened any."""
        self._loading: set[ref[greenlet]] = set()
        # The greenlets that load attributes.
        self._returning: asyncio.Task[None] | None = None

    def add(self, connection: Connection) -> None:
        """Note a connection that takes part in the transaction, and watch its checkout."""
        if connection in self.in_use:
            return
        self.in_use += (connection,)
        if self.reads:
            session = self._session()
            self.keeps = self.keeps or session is None or connection.engine is not session.bind
        if self._watch is not None:
            if self._checkout is not None:
                self._watch.end(self._checkout)
            at_end = self.tasks.ending is not None
            self._checkout = self._watch.begin(self.request, connection, at_end=at_end)

    def forget(self) -> None:
        """Note that the transaction is over, and its connections are returned."""
        self.keeps = False
        self.in_use = ()
        if self._watch is not None and self._checkout is not None:
            self._watch.end(self._checkout)
            self._checkout = None

    # --- Between two statements -------------------------------------------------------------------

    def release(self) -> None:
        """Return the connection of a reading session; its objects and hooks stay.

        It is kept while a stream is open, in a block of ``begin()``, once ``connection()`` has handed it
        out, and with one to another database.
        """
        session = self._session()
        transaction = None if session is None else session.get_transaction()
        if (
            session is None
            or transaction is None
            or transaction.origin is not SessionTransactionOrigin.AUTOBEGIN
            or not transaction.is_active
            or self.keeps
            or self.streams
            or session.get_nested_transaction() is not None
        ):
            return
        self.releasing = True
        try:
            transaction.close()
        finally:
            self.releasing = False

    def leave(self) -> None:
        """Return the connection of a reading session before its next statement, from now on."""
        self.releases = self.reads
        if self.reads and self.tasks.user is None and self.tasks.ending is None:
            self.release()

    def release_after(self, loading: greenlet) -> None:
        """Return the connection once no greenlet loads attributes any more, outside of any call."""
        if loading.parent is not None:  # else there is none, which SQLAlchemy refuses
            self._loading.add(ref(loading, self._release_soon))

    def _release_soon(self, loaded: ref[greenlet]) -> None:
        self._loading.discard(loaded)
        with suppress(RuntimeError):  # the event loop has ended
            self._returning = asyncio.get_running_loop().create_task(self._release_idle())

    async def _release_idle(self) -> None:
        # The task goes on at once after it has loaded one attribute, and may load another one.
        if not self._loading and self.tasks.user is None and self.tasks.ending is None:
            await greenlet_spawn(self.release)

    # --- Streams ----------------------------------------------------------------------------------

    def note_streams(self) -> None:
        """Note the open streams: one task at a time may fetch their rows."""
        for connection in self.in_use:
            streams = open_streams(connection)
            if streams is not None:
                streams.session = ref(self)
                self.streams = streams

    def streams_are_over(self) -> None:
        """Return the connection after the last row, unless a call goes on, which will."""
        if self.releases and self.tasks.user is None:
            self.release()

    async def end_left_streams(self) -> None:
        """End the snapshot of streams that a loop has left in the middle."""
        if self.streams is not None and not self.streams:
            streams, self.streams = self.streams, None
            await greenlet_spawn(streams.end_if_left)
