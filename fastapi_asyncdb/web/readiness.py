"""``Readiness``: what an application can do now, by the state of its databases. A decision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastapi_asyncdb.engine.replicas import Replicas
from fastapi_asyncdb.errors import AsyncDBError, DatabaseUnavailable


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """Whether one database serves."""

    failure: AsyncDBError | None
    """Why the primary does not."""
    replicas: int = 0
    fit: int = 0
    """How many of the replicas serve."""

    @property
    def reads(self) -> bool:
        """Whether sessions that read get a connection."""
        return self.failure is None or self.fit > 0


def state_of(
    failure: AsyncDBError | None, replicas: Replicas | None, *, lacks_migrations: bool
) -> DatabaseState:
    """Return the state of a database.

    Args:
        failure: Of the ping of the primary.
        replicas: As the background has last seen them.
        lacks_migrations: Whether the primary said so when it last answered.
    """
    if replicas is None:
        return DatabaseState(failure)
    # Replicas make up for a primary that is down; not for tables that are missing, nor in a stop.
    helps = failure is None or (isinstance(failure, DatabaseUnavailable) and not lacks_migrations)
    return DatabaseState(failure, len(replicas.all), len(replicas.fit) if helps else 0)


class Readiness:
    """What an application can do with all of its databases together.

    Args:
        states: Of each database.
        require_writes: Whether it is unavailable if it can only read.
    """

    def __init__(self, states: Iterable[DatabaseState], *, require_writes: bool) -> None:
        states = tuple(states)
        self._writes = all(state.failure is None for state in states)
        self._reads = all(state.reads for state in states)
        self._fit = sum(state.fit for state in states)
        self._replicas = sum(state.replicas for state in states)
        self.is_ready: bool = self._writes or (self._reads and not require_writes)
        """Whether requests are to be sent."""

    def body(self) -> dict[str, str]:
        """Return the body of the answer; without replicas, there is one thing to say."""
        if not self._replicas:
            return {"status": self._status()}
        return {
            "status": self._status(),
            "writes": _word(ok=self._writes),
            "reads": _word(ok=self._reads),
            "replicas": f"{self._fit} of {self._replicas}",
        }

    def _status(self) -> str:
        is_whole = self._writes and self._fit == self._replicas
        return "degraded" if self.is_ready and not is_whole else _word(ok=self.is_ready)


def _word(*, ok: bool) -> str:
    return "ok" if ok else "unavailable"
