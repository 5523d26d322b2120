"""PostgreSQL: timeouts told at connect, TLS as libpq understands it."""

from __future__ import annotations

import math
import socket
import ssl
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fastapi_asyncdb.dialects.preset import Diagnosis, causes
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.url import TLS, Target

_APPLICATION_NAME = "fastapi_asyncdb"
# Any constant will do, as long as nobody else uses it: "asyncdb" in ASCII.
_SCHEMA_LOCK = int.from_bytes(b"asyncdb")


class PostgreSQL:
    """The preset for asyncpg and psycopg."""

    needs_ping = True
    separate_readers = False

    def install_hint(self, target: Target) -> str:
        """Return the extra that brings asyncpg, or psycopg itself."""
        if target.url.get_driver_name() == "psycopg":
            return "'psycopg[binary]'"
        return "'fastapi-asyncdb[postgresql]'"

    def resolve(self, target: Target) -> Target:
        """Return the target as it is."""
        return target

    def engine_options(
        self, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> dict[str, Any]:
        """Send the timeouts once per connection, in the startup message. The URL's own values win."""
        if target.url.get_driver_name() == "psycopg":
            return {"connect_args": _psycopg_arguments(target, settings)}
        return {"connect_args": _asyncpg_arguments(target, settings)}

    def configure(self, engine: AsyncEngine, target: Target, *, read_only: bool) -> None:
        """Do nothing: everything was said in the startup message."""

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Take an advisory lock, because CREATE TABLE IF NOT EXISTS fails in a race."""
        await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})

    def diagnose(self, error: BaseException, target: Target) -> Diagnosis:
        """Classify by SQLSTATE where there is one: drivers' classes and texts differ."""
        chain = list(causes(error))
        for cause in chain:
            state = getattr(cause, "sqlstate", None)
            if state:
                return _STATES.get(state) or Diagnosis(
                    "The server refused the connection", permanent=state[:2] not in ("53", "57")
                )
        words = " ".join(str(cause) for cause in chain)
        for fragment, diagnosis in _TEXTS.items():
            if fragment in words:
                return diagnosis
        for cause in chain:
            for kind, diagnosis in _CLASSES.items():
                if isinstance(cause, kind):
                    return diagnosis
        return Diagnosis("Check host, port and TLS mode in DATABASE_URL")


def _asyncpg_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    told = {"application_name": _APPLICATION_NAME, **_timeouts(settings)}
    given = dict(target.connect_args)
    arguments: dict[str, Any] = {"timeout": settings.connect_timeout, "ssl": _ssl(target.tls)}
    arguments["server_settings"] = {**told, **given.pop("server_settings", {})}
    return arguments | given


def _psycopg_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    query = target.url.query
    own = [f"-c {name}={value}" for name, value in _timeouts(settings).items()]
    options = [*own, *([query["options"]] if "options" in query else [])]
    # libpq takes whole seconds and makes 1 into 2.
    defaults = {
        "application_name": _APPLICATION_NAME,
        "connect_timeout": max(2, math.ceil(settings.connect_timeout)),
    }
    arguments: dict[str, Any] = {
        name: value for name, value in defaults.items() if name not in query
    }
    return arguments | {"options": " ".join(map(str, options))}


def _timeouts(settings: DatabaseSettings) -> dict[str, str]:
    """Return server settings in milliseconds, PostgreSQL's unit."""
    seconds = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
    }
    return {
        name: str(math.ceil(value * 1000)) for name, value in seconds.items() if value is not None
    }


def _ssl(tls: TLS) -> str | ssl.SSLContext:
    """Return what asyncpg takes for libpq's parameters, which it reads only inside its own DSN.

    As in libpq, ``require`` with authorities at hand means ``verify-ca``.
    https://www.postgresql.org/docs/current/libpq-ssl.html
    """
    verify = tls.verified or (tls.mode == "require" and tls.root_cert is not None)
    if not verify and tls.cert is None:
        return tls.mode
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = tls.mode == "verify-full"
    if not verify:
        context.verify_mode = ssl.CERT_NONE
    try:
        if verify:
            _load_authorities(context, tls.root_cert)
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"A certificate named in DATABASE_URL cannot be loaded: {error}. "
            "Check the paths in sslrootcert, sslcert and sslkey."
        ) from error
    return context


def _load_authorities(context: ssl.SSLContext, root_cert: str | None) -> None:
    """Trust the given file, else libpq's ``~/.postgresql/root.crt``, else the system's authorities."""
    own = Path.home() / ".postgresql" / "root.crt"
    if root_cert is None and own.exists():
        root_cert = str(own)
    if root_cert in (None, "system"):
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=root_cert)


_PASSWORD = Diagnosis("User or password is wrong: correct DATABASE_URL", permanent=True)
_NO_DATABASE = Diagnosis(
    "The database does not exist: create it (createdb NAME), or correct DATABASE_URL",
    permanent=True,
)
_NO_TLS = Diagnosis(
    "The server does not offer TLS: enable it there, or use sslmode=prefer on a network you trust",
    permanent=True,
)
_UNTRUSTED = Diagnosis(
    "The server's certificate is not trusted: name its authority with sslrootcert=FILE in "
    "DATABASE_URL, and the host as the certificate has it",
    permanent=True,
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES = {
    "28P01": _PASSWORD,
    "28000": Diagnosis(
        "The server does not let this user in from here: see pg_hba.conf, and sslmode in "
        "DATABASE_URL",
        permanent=True,
    ),
    "3D000": _NO_DATABASE,
    "53300": Diagnosis(
        "All its connections are taken: lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW times "
        "the number of processes, or raise max_connections"
    ),
    "57P03": Diagnosis("It is starting up or shutting down: wait for it"),
}
# psycopg gives no SQLSTATE for a connection that was refused; asyncpg none for TLS.
_TEXTS = {
    "authentication failed": _PASSWORD,
    "no password supplied": _PASSWORD,
    "does not exist": _NO_DATABASE,
    "rejected SSL upgrade": _NO_TLS,
    "server does not support SSL": _NO_TLS,
    "certificate verify failed": _UNTRUSTED,
}
_CLASSES: dict[type[BaseException], Diagnosis] = {
    ssl.SSLError: _UNTRUSTED,
    socket.gaierror: Diagnosis("The host name is not known: correct it in DATABASE_URL"),
    ConnectionRefusedError: Diagnosis(
        "Nothing listens there: start the server, or correct host and port in DATABASE_URL"
    ),
    FileNotFoundError: Diagnosis(
        "There is no such socket: start the server, or correct host and port in DATABASE_URL"
    ),
    TimeoutError: Diagnosis(
        "No answer: a firewall, a wrong host, or a server too busy for DATABASE_CONNECT_TIMEOUT"
    ),
}
