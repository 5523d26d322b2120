"""Why PostgreSQL could not be reached, and the next step. Pure: looks at the exception."""

from __future__ import annotations

import re
import socket
import ssl

from fastapi_asyncdb.credentials import CredentialsError
from fastapi_asyncdb.dialects.base import Diagnosis, no_answer_within
from fastapi_asyncdb.tracebacks import causes

REFUSED_PARAMETER = "[Uu]nsupported startup parameter|RDS Proxy currently doesn't support"
"""How poolers refuse a setting in the startup message."""


def diagnose(error: BaseException) -> Diagnosis:
    """Classify by the surest sign: SQLSTATE, else the words, else the kind of exception."""
    chain = list(causes(error))
    states = [str(state) for cause in chain if (state := getattr(cause, "sqlstate", None))]
    words = " ".join(str(cause) for cause in chain)
    return (
        next((_STATES[state] for state in states if state in _STATES), None)
        or next((found for pattern, found in _TEXTS.items() if re.search(pattern, words)), None)
        or next((_refusal(state) for state in states), None)
        or next(
            (found for cause in chain for kind, found in _CLASSES if isinstance(cause, kind)),
            Diagnosis("Check host, port and TLS mode in the database settings"),
        )
    )


def no_answer(error: BaseException, seconds: float | None) -> str | None:
    """Say which time was up, if that was the cause: asyncpg has no words for it, and psycopg others."""
    timed_out = isinstance(error, TimeoutError) and getattr(error, "errno", None) is None
    if not (timed_out or "timeout expired" in str(error)):
        return None
    return no_answer_within(seconds)


def is_refused(error: BaseException) -> bool:
    """Return whether the server has refused the user or the password (28P01, 28000)."""
    return diagnose(error) in (_PASSWORD, _NO_ROLE, _NO_ENTRY)


def _refusal(state: str) -> Diagnosis:
    if state == "28000":
        return _NO_ENTRY
    # Connections, resources, operators and the system recover; a violated protocol does not.
    passing = state[:2] in ("08", "53", "57", "58") and state != "08P01"
    return Diagnosis(
        "The server refused the connection: see its log, and correct the database settings",
        permanent=not passing,
    )


_PASSWORD = Diagnosis(
    "User or password is wrong: correct the database settings, or the function in "
    "Database(password=...)",
    permanent=True,
)
_NO_CREDENTIALS = Diagnosis(
    "The text of an exception is left out, since it may contain the secret: log it in the function"
)
_NO_ROLE = Diagnosis(
    "The user does not exist: create it (createuser NAME), or correct the database settings",
    permanent=True,
)
_NO_DATABASE = Diagnosis(
    "The database does not exist: create it (createdb NAME), or correct the database settings",
    permanent=True,
)
_NO_ENTRY = Diagnosis(
    "The server does not let this user in from here: see its pg_hba.conf, and sslmode in "
    "DATABASE_URL",
    permanent=True,
)
_NO_TENANT = Diagnosis(
    "The pooler does not know this user: it is USER.PROJECT there; correct the database settings",
    permanent=True,
)
_FULL = Diagnosis(
    "All connections of the server are taken: lower DATABASE_POOL_SIZE and DATABASE_MAX_OVERFLOW times "
    "the number of processes, or raise max_connections",
    full=True,
)
_STARTING = Diagnosis("The server is starting up or shutting down: wait for it")
_NO_SETTING = Diagnosis(
    "The server knows no such setting, or no such value: correct options in DATABASE_URL",
    permanent=True,
)
_POOLER = Diagnosis(
    "A pooler in front of the server takes no such setting at connect: leave DATABASE_PGBOUNCER unset, "
    "so that timeouts go with each transaction, and set for the role what else DATABASE_URL has in its "
    "options (ALTER ROLE NAME SET ...)",
    permanent=True,
)
_POOLER_WAITS = Diagnosis(
    "The pooler does not reach its server: wait for it, or see the pooler's log"
)
_NO_TLS = Diagnosis(
    "The server does not offer TLS: enable it there, or use sslmode=prefer on a network you trust. Or "
    "it is no PostgreSQL: check the port",
    permanent=True,
)
_UNTRUSTED = Diagnosis(
    "The server's certificate is not trusted: name its authority with sslrootcert=FILE in "
    "DATABASE_URL",
    permanent=True,
)
_OTHER_NAME = Diagnosis(
    "The server's certificate is for another host name: write the host in the database settings as the "
    "certificate has it, or use sslmode=verify-ca if the authority vouches for this server alone",
    permanent=True,
)
_NO_HANDSHAKE = Diagnosis(
    "TLS could not be agreed on: see the server's log, and sslmode, sslcert and sslkey in "
    "DATABASE_URL"
)
_CERTIFICATE_FILE = Diagnosis(
    "A certificate named in DATABASE_URL cannot be used: check sslrootcert, sslcert and sslkey",
    permanent=True,
)
_NOT_LISTENING = Diagnosis(
    "Nothing listens there: start the server, or correct host and port in the database settings"
)
_NO_SOCKET = Diagnosis(
    "There is no such socket: start the server, or correct host and port in the database settings"
)
_NO_NAME = Diagnosis("The host name is not known: correct it in the database settings")
_NO_ANSWER = Diagnosis(
    "A firewall, a wrong host, or a server too busy: check host and port, or raise "
    "DATABASE_CONNECT_TIMEOUT"
)
_NO_FITTING_HOST = Diagnosis(
    "No host is what target_session_attrs in DATABASE_URL asks for: wait for the failover, or "
    "correct it"
)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_STATES = {
    "28P01": _PASSWORD,
    "3D000": _NO_DATABASE,
    "42704": _NO_SETTING,
    "22023": _NO_SETTING,
    "53300": _FULL,
    "57P03": _STARTING,
}
# For 28000, which has several causes; for asyncpg's own errors; and for psycopg, which gives no
# SQLSTATE for a connection that was refused.
_TEXTS = {
    # PAM is what AWS answers to a token that has expired.
    "(password|PAM|LDAP|RADIUS) authentication failed|no password supplied": _PASSWORD,
    'role ".*" does not exist': _NO_ROLE,
    'database ".*" does not exist|no such database': _NO_DATABASE,
    "[Tt]enant.* not found": _NO_TENANT,
    "pg_hba.conf": _NO_ENTRY,
    # The last is PgBouncer's.
    "too many clients|connection slots are reserved|too many connections|no more connections allowed": (
        _FULL
    ),
    "the database system is (starting up|shutting down|not yet)": _STARTING,
    "unrecognized configuration parameter|invalid value for parameter": _NO_SETTING,
    REFUSED_PARAMETER: _POOLER,
    # PgBouncer's, all with the code of a violated protocol.
    "query_wait_timeout|server login has been failing|server_login_retry|server conn crashed": (
        _POOLER_WAITS
    ),
    "rejected SSL upgrade|server does not support SSL": _NO_TLS,
    "does not match host name|Hostname mismatch|IP address mismatch": _OTHER_NAME,
    "certificate verify failed": _UNTRUSTED,
    "root certificate file|certificate file|private key file|weak sslmode": _CERTIFICATE_FILE,
    "failed to resolve host|could not translate host name": _NO_NAME,
    "Connection refused": _NOT_LISTENING,
    "No such file or directory": _NO_SOCKET,
    "timeout expired": _NO_ANSWER,
    "target attribute requirement|session is (not )?read-only|server is (not )?in hot standby": (
        _NO_FITTING_HOST
    ),
}
_CLASSES: tuple[tuple[type[BaseException], Diagnosis], ...] = (
    (CredentialsError, _NO_CREDENTIALS),
    (ssl.SSLError, _NO_HANDSHAKE),
    (socket.gaierror, _NO_NAME),
    (ConnectionRefusedError, _NOT_LISTENING),
    (FileNotFoundError, _NO_SOCKET),
    (TimeoutError, _NO_ANSWER),
)
