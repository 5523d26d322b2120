"""One PostgreSQL server for several processes: their parent starts it when the first one needs it."""

from __future__ import annotations

import secrets
import threading
from contextlib import ExitStack
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener

from fastapi_asyncdb.errors import AsyncDBError, ConfigurationError, DatabaseUnavailable
from fastapi_asyncdb.testing.servers.postgresql import postgres_server

_LEAVE = "leave"


class ServerOffer:
    """Listen for processes that need a server; ``close`` stops it.

    The first process that needs it may be the first to end, so none of them can own it.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._key = secrets.token_bytes(16)
        self._listener = Listener(authkey=self._key)
        self._url: str | None = None
        self._thread = threading.Thread(target=self._serve, name="asyncdb_server", daemon=True)
        self._thread.start()

    @property
    def address(self) -> tuple[str, str]:
        """The argument of ``ask()``, of types that xdist can send."""
        return str(self._listener.address), self._key.hex()

    def close(self) -> None:
        """Stop listening, and the server."""
        with Client(self._listener.address, authkey=self._key) as connection:
            connection.send(_LEAVE)
        self._thread.join()
        self._listener.close()
        self._stack.close()

    def _serve(self) -> None:
        while True:
            try:
                with self._listener.accept() as connection:
                    if connection.recv() == _LEAVE:
                        return
                    self._answer(connection)
            except (OSError, EOFError, AuthenticationError):
                continue  # A worker that was killed in the middle of asking.

    def _answer(self, connection: Connection) -> None:
        try:
            if self._url is None:
                self._url = self._stack.enter_context(postgres_server()).url()
        except Exception as error:
            problem = error.args[0] if isinstance(error, AsyncDBError) else str(error)
            connection.send((None, problem, isinstance(error, ConfigurationError)))
        else:
            connection.send((self._url, "", False))


def ask(address: tuple[str, str]) -> str:
    """Return the URL of the running server.

    Raises:
        ConfigurationError: something that it needs is not installed or wrong.
        DatabaseUnavailable: it did not start.
    """
    path, key = address
    with Client(path, authkey=bytes.fromhex(key)) as connection:
        connection.send("start")
        url, problem, configuration = connection.recv()
    if url is None:
        raise ConfigurationError(problem) if configuration else DatabaseUnavailable(problem)
    return str(url)
