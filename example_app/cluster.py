"""``make run-cluster``: serves the application on a primary and two standbys that it starts.

They come from the testing kit, and are removed with all their data when the process ends.
"""

import asyncio
import os
import signal
import socket
import sys
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path

import uvicorn

from fastapi_asyncdb import default_database
from fastapi_asyncdb.testing import PostgresReplica, PostgresServer, postgres_server

_GUIDE = """
The application: {address}/docs

  server     port   process
  primary    {ports[0]:<6} {pids[0]}
  standby    {ports[1]:<6} {pids[1]}
  standby    {ports[2]:<6} {pids[2]}

Look           curl {address}/health/ready
Kill one       kill -QUIT {pids[1]}
  A standby: the other one serves its reads. The primary: reads go on, and writes are answered with 503.
Pause replay   {psql} {url} -c 'SELECT pg_wal_replay_pause()'
  The standby is left out {lag} s after the next write. It is back after pg_wal_replay_resume().

Nothing that was killed is started again. Ctrl+C ends all of it.
"""


def main() -> None:
    """Start the servers, migrate, and serve until Ctrl+C or SIGTERM."""
    parser = ArgumentParser(prog="python -m example_app.cluster")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    options = parser.parse_args()
    # Like Ctrl+C, it then leaves the blocks below, which remove the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with (
        suppress(KeyboardInterrupt),
        socket.create_server((options.host, options.port)) as listener,
        postgres_server() as primary,
        primary.replica() as one,
        primary.replica() as other,
    ):
        configure(primary, one, other)
        asyncio.run(default_database.upgrade(config=Path(__file__).with_name("alembic.ini")))
        print(guide(listener, primary, one, other), flush=True)  # noqa: T201
        config = uvicorn.Config("example_app.main:app", timeout_graceful_shutdown=5)
        uvicorn.Server(config).run(sockets=[listener])


def configure(primary: PostgresServer, *standbys: PostgresReplica) -> None:
    """Set what an operator sets: the application reads nothing else."""
    os.environ["DATABASE_URL"] = primary.url()
    os.environ["DATABASE_REPLICA_URLS"] = ",".join(standby.url() for standby in standbys)
    os.environ.setdefault("DATABASE_MAX_REPLICA_LAG", "5")


def guide(listener: socket.socket, *servers: PostgresServer | PostgresReplica) -> str:
    """Return what runs where, and what to try."""
    host, port = listener.getsockname()[:2]
    return _GUIDE.format(
        address=f"http://{host}:{port}",
        ports=[server.port for server in servers],
        pids=[pid(server) for server in servers],
        psql=servers[0].wheel.bin_path / "psql",
        url=servers[-1].url(),
        lag=os.environ["DATABASE_MAX_REPLICA_LAG"],
    )


def pid(server: PostgresServer | PostgresReplica) -> int:
    """Return the number of the server's main process."""
    return int((server.data / "postmaster.pid").read_text().split()[0])


if __name__ == "__main__":
    main()
