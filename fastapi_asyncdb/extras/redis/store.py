"""``Store``: what the cache asks of the server, one round trip each. Decides nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi_asyncdb.extras.redis import scripts
from fastapi_asyncdb.extras.redis.entries import STAMP, Entry, stamp_of, unpack
from fastapi_asyncdb.extras.redis.link import Link
from fastapi_asyncdb.extras.redis.names import Names
from fastapi_asyncdb.extras.redis.settings import RedisSettings


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to store one value, until a writer takes it away."""

    token: str
    versions: Sequence[bytes]
    """Of the tags, at the time when it was given."""


_GRANTED, _STORED, _HELD = 0, 1, 2
HELD, WRITTEN = "held", "written"
"""There is no lease: another process has it; a writer is in its commit."""


class Store:
    """Read and write entries, leases and markers.

    Args:
        link: Sends the commands.
        settings: Times and sizes.
    """

    def __init__(self, link: Link, settings: RedisSettings) -> None:
        self._link = link
        self._settings = settings
        register = link.client.register_script
        self._acquire, self._store = register(scripts.ACQUIRE), register(scripts.STORE)
        self._mark, self._unmark = register(scripts.MARK), register(scripts.UNMARK)

    async def get(self, value: str, versions: Sequence[str]) -> Entry | None:
        """Return the entry, if there is a valid one.

        Args:
            value: The key of the server.
            versions: Those of its tags, sorted.

        Raises:
            Away: there is no answer.
        """
        command = self._link.client.execute_command
        if not versions:
            data = await self._link.run(command, "GET", value)
            return None if data is None else unpack(data, stamp_of(()))
        values: Any = await self._link.run(command, "MGET", value, *versions)
        data, *found = values
        return None if data is None or None in found else unpack(data, stamp_of(found))

    async def acquire(self, names: Names, ttl: float, *, replace: bool) -> Lease | Entry | str:
        """Ask for the lease of a value.

        Args:
            names: Of one value and its tags.
            ttl: Seconds that the value will live.
            replace: Ask also when there is a valid one.

        Returns:
            The lease; the value that was stored meanwhile; or ``HELD`` or ``WRITTEN``.

        Raises:
            Away: there is no answer.
        """
        token = secrets.token_hex(8)
        lease = self._settings.lease_ttl
        times = _milliseconds(lease), _milliseconds(max(lease, ttl))
        args: list[Any] = [token, times[0], int(replace), *STAMP, times[1]]
        status, *rest = await self._link.run(self._acquire, names.flat(), args)
        if status == _STORED:
            data: bytes = rest[0]
            return unpack(data, data[STAMP[0] - 1 : STAMP[1]]) or HELD
        if status == _GRANTED:
            return Lease(token, rest[0])
        return HELD if status == _HELD else WRITTEN

    async def store(self, names: Names, lease: Lease, entry: Entry | None, ttl: float) -> bool:
        """Store a value and give the lease back.

        Args:
            names: Of one value and its tags.
            lease: Its lease.
            entry: The value; ``None`` only gives the lease back.
            ttl: Seconds that it lives.

        Returns:
            Whether no writer has taken the lease away: the value is the current one.

        Raises:
            Away: there is no answer.
        """
        ((value, held, _),) = names.keys
        versions = [version for version, _ in sorted(names.tags)]
        data = b"" if entry is None else entry.pack(stamp_of(lease.versions))
        milliseconds = 0 if entry is None else max(1, _milliseconds(ttl))
        args: list[Any] = [lease.token, data, milliseconds, *lease.versions]
        return bool(await self._link.run(self._store, [value, held, *versions], args))

    async def mark(self, token: str, written: Names) -> None:
        """Remove values, leases and the versions of tags; leave the marker of a writer.

        Raises:
            Away: there is no answer, although it may have been done.
        """
        marker = _milliseconds(self._settings.write_marker_ttl)
        await self._invalidate(self._mark, written, [token, len(written.keys), marker])

    async def unmark(self, token: str, written: Names, *, committed: bool) -> None:
        """Remove the marker of a writer; after a commit also what a lost marker has let in.

        Raises:
            Away: there is no answer, although it may have been done.
        """
        await self._invalidate(self._unmark, written, [token, len(written.keys), int(committed)])

    async def _invalidate(self, script: Any, written: Names, args: list[Any]) -> None:
        seconds = self._settings.invalidation_timeout
        await self._link.attempt(seconds, script, written.flat(), args)

    async def clear(self, prefix: str) -> None:
        """Remove all values and leases, and the versions of all tags; markers stay.

        Raises:
            Away: there is no answer.
        """
        client, seconds = self._link.client, self._settings.invalidation_timeout
        for kind in "vlt":
            cursor: Any = 0
            while True:
                cursor, keys = await self._link.attempt(
                    seconds, client.scan, cursor, match=f"{prefix}:{kind}:*", count=500
                )
                if keys:
                    await self._link.attempt(seconds, client.unlink, *keys)
                if not cursor:
                    break


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
