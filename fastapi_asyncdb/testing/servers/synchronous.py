"""Commits of a PostgreSQL server for tests that wait for its standbys.

https://www.postgresql.org/docs/current/warm-standby.html#SYNCHRONOUS-REPLICATION
"""

from __future__ import annotations

from fastapi_asyncdb.testing.servers.folder import GRACE, until
from fastapi_asyncdb.testing.servers.process import ServerProcess

NO_STREAM = (
    "Most likely it has replayed what that server never got, or that server does not run: see the file "
    "'log' in both data folders. To make a standby anew, stop() it, then follow()."
)


class SynchronousServer(ServerProcess):
    """A server whose commits may wait for others, and others for it."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited_by: SynchronousServer | None = None
        """The server whose commits wait for this one."""
        self._awaited: list[str] = []
        """The standbys for which the commits of this server wait, by their ``application_name``."""

    @property
    def _name(self) -> str:
        """The ``application_name`` of a standby, by which its primary knows it."""
        return f"standby_{self.port}"

    def _wait_for(self, standby: SynchronousServer) -> None:
        standby._awaited_by = self
        self._await([*self._awaited, standby._name])
        state = "SELECT sync_state FROM pg_stat_replication WHERE application_name = '{}'"
        state = state.format(standby._name)
        until(lambda: self.psql(state) == "sync", GRACE, f"{standby!r} is away. {NO_STREAM}")
        # The checkpointer tells other processes of the setting, after it has read it for itself.
        self.psql("CHECKPOINT")

    def _leave_primary(self) -> None:
        """Let no commit wait for this server any more."""
        waiting, self._awaited_by = self._awaited_by, None
        if waiting is not None:
            waiting._await([name for name in waiting._awaited if name != self._name])

    def _await(self, names: list[str]) -> None:
        """Let commits wait for these standbys; of a server that does not run, from its start on."""
        self._awaited = names
        if self._folder is None:
            return
        value = f"{len(names)} ({', '.join(names)})" if names else ""
        self._configure({"synchronous_standby_names": value})
        if self.is_running():
            self._pg_ctl("reload")
