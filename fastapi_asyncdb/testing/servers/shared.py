"""Servers for several processes, one of each kind: their parent starts one when it is first needed."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import cast

from sqlalchemy import make_url

from fastapi_asyncdb.errors import AsyncDBError, ConfigurationError, DatabaseUnavailable
from fastapi_asyncdb.testing.servers.folder import private_ports
from fastapi_asyncdb.testing.servers.mariadb import MariaDBServer, mariadb_server
from fastapi_asyncdb.testing.servers.postgresql import PostgresServer, postgres_server

_Servers = dict[str, Callable[[], AbstractContextManager[PostgresServer | MariaDBServer]]]

_SERVERS: _Servers = {"postgresql": postgres_server, "mariadb": mariadb_server}
_LEAVE = "leave"


class ServerOffer:
    """Listen for processes that need a server; ``close`` stops those that run.

    The first process that needs one may be the first to end, so none of them can own it.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._key = secrets.token_bytes(16)
        self._listener = Listener(authkey=self._key)
        self._urls: dict[str, str] = {}
        self._thread = threading.Thread(target=self._serve, name="asyncdb_server", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, str]:
        """The argument of ``ask()``, of types that xdist can send."""
        return str(self._listener.address), self._key.hex()

    def close(self) -> None:
        """Stop listening, and the servers."""
        with Client(self._listener.address, authkey=self._key) as connection:
            connection.send(_LEAVE)
        self._thread.join()
        self._listener.close()
        self._stack.close()

    def _serve(self) -> None:
        while True:
            try:
                with self._listener.accept() as connection:
                    wanted = connection.recv()
                    if wanted == _LEAVE:
                        return
                    self._answer(connection, wanted)
            except (OSError, EOFError, AuthenticationError):
                continue  # A worker that was killed in the middle of asking.

    def _answer(self, connection: Connection, kind: str) -> None:
        try:
            if kind not in self._urls:
                self._urls[kind] = self._stack.enter_context(running_server(kind))
        except Exception as error:
            problem = error.args[0] if isinstance(error, AsyncDBError) else str(error)
            connection.send((None, problem, isinstance(error, ConfigurationError)))
        else:
            connection.send((self._urls[kind], "", False))


@contextmanager
def running_server(kind: str) -> Iterator[str]:
    """Run a private server for as long as the block runs.

    Args:
        kind: ``postgresql`` or ``mariadb``.

    Yields:
        Its URL.

    Raises:
        MissingExtra: a program or a package is not installed.
        DatabaseUnavailable: it did not start.
    """
    with _SERVERS[kind]() as server:
        yield server.url()


def ask(address: tuple[str, str], kind: str) -> str:
    """Return the URL of the running server of a kind.

    Raises:
        ConfigurationError: something that it needs is not installed or wrong.
        DatabaseUnavailable: it did not start.
    """
    path, key = address
    with Client(path, authkey=bytes.fromhex(key)) as connection:
        connection.send(kind)
        url, problem, configuration = connection.recv()
    if url is None:
        raise ConfigurationError(problem) if configuration else DatabaseUnavailable(problem)
    private_ports.add(cast(int, make_url(url).port))
    return str(url)
