"""Invalidation in two steps, around the COMMIT of a session."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb.extras.redis.link import Away, Link
from fastapi_asyncdb.extras.redis.names import Names
from fastapi_asyncdb.extras.redis.store import Store
from fastapi_asyncdb.session.before_commit import before_commit
from fastapi_asyncdb.session.hooks import on_rollback

logger = logging.getLogger(__name__)

_MOST = 10_000
"""Names that are kept while the server is away; with more the cache is emptied when it is back."""
_BATCH = 500


class Invalidations:
    """What transactions of this process write, and what is to be removed when the server is back.

    Args:
        store: Sets and removes markers.
        link: Sends no more commands once an invalidation has failed: what is stored may be old.
        prefix: Of the keys, for the case that there are too many.
    """

    def __init__(self, store: Store, link: Link, prefix: str) -> None:
        self._store = store
        self._link = link
        self._prefix = prefix
        # Of the sessions: one whose outcome is unknown takes its writes with it.
        self._writes: WeakKeyDictionary[Session, _Write] = WeakKeyDictionary()
        self._left = Names()
        self._too_many = False

    def add(self, session: AsyncSession | Session, written: Names) -> None:
        """Invalidate with the commit of a session."""
        sync_session = session.sync_session if isinstance(session, AsyncSession) else session
        write = self._writes.get(sync_session) or _Write(self)
        before_commit(session, write.mark, write.committed, written)
        on_rollback(session, write.rolled_back, written)
        write.open |= written
        self._writes[sync_session] = write

    @property
    def open(self) -> bool:
        """Whether any transaction of this process writes."""
        return bool(self._writes)

    def is_written(self, names: Names) -> bool:
        """Return whether a transaction of this process writes one of them, and has not ended."""
        return any(write.open.touches(names) for write in self._writes.values())

    async def now(self, written: Names, token: str = "") -> None:
        """Invalidate at once, or when the server is back."""
        if self._link.is_away:
            return self._keep(written)
        try:
            await self._store.unmark(token, written, committed=True)
        except Away:
            self._keep(written)
            self._link.open()

    async def mark(self, token: str, written: Names) -> None:
        """Remove what is stored, and let nothing be stored until ``now`` or ``unmark``."""
        if self._link.is_away:
            return
        try:
            await self._store.mark(token, written)
        except Away:
            self._link.open()

    async def unmark(self, token: str, written: Names) -> None:
        """Let values be stored again: the transaction was rolled back."""
        if not self._link.is_away:
            with suppress(Away):  # else the markers expire
                await self._store.unmark(token, written, committed=False)

    async def finish(self) -> None:
        """Do what was left while the server was away.

        Raises:
            Away: it is away again.
        """
        while self._left:
            left, too_many = self._left, self._too_many
            if too_many:
                await self._store.clear(self._prefix)
            else:
                for batch in left.batches(_BATCH):
                    await self._store.unmark("", batch, committed=True)
            if self._left is left:
                self._left, self._too_many = Names(), False

    def report(self) -> None:
        """Log what could not be done before the end."""
        if self._left:
            logger.error(
                "%d keys and tags were written while Redis was away, and are not invalidated: the "
                "process ends. Their entries may be old until they expire.",
                len(self._left),
            )

    def _keep(self, written: Names) -> None:
        if len(self._left) >= _MOST:
            self._left, self._too_many = Names(written.keys, written.tags), True
        else:
            self._left |= written


class _Write:
    """What the transaction of one session writes.

    The hooks of several calls share their commands: each is called with its own names, and the first one
    that is awaited does the work of all.
    """

    def __init__(self, invalidations: Invalidations) -> None:
        self._invalidations = invalidations
        self._token = secrets.token_hex(8)
        self.open = Names()
        """What has been declared in the transaction."""
        self._to_mark = self._marked = Names()

    def mark(self, written: Names) -> Coroutine[Any, Any, None]:
        """Mark before the COMMIT."""
        self._to_mark |= written
        return self._mark()

    async def _mark(self) -> None:
        marking, self._to_mark = self._to_mark, Names()
        if marking:
            self._marked |= marking
            await self._invalidations.mark(self._token, marking)

    async def committed(self, written: Names) -> None:
        """Remove the markers; what has none was not marked, and is removed itself."""
        if self.open.touches(written):
            done, self._marked = self._marked | written, Names()
            await self._invalidations.now(done, self._token)
            self.open -= done

    async def rolled_back(self, written: Names) -> None:
        """Remove the markers of a commit that has failed."""
        marked = self._marked & written
        self._marked -= marked
        self.open -= written
        if marked:
            await self._invalidations.unmark(self._token, marked)
