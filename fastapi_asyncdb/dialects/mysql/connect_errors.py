"""Why MySQL or MariaDB could not be reached, and the next step. Pure: looks at the exception."""

from __future__ import annotations

import re
import socket
import ssl

from fastapi_asyncdb.credentials import CredentialsError
from fastapi_asyncdb.dialects.base import NO_ANSWER, Diagnosis
from fastapi_asyncdb.dialects.mysql.errors import number_of
from fastapi_asyncdb.tracebacks import causes

CANNOT_CONNECT = 2003
"""CR_CONN_HOST_ERROR, which the drivers use for each error of the network."""
_REFUSED = (1045, 1698)


def diagnose(error: BaseException) -> Diagnosis:
    """Classify by the surest sign: the server's number, else the kind of exception, else the words."""
    chain = list(causes(error))
    numbers = [number for cause in chain if (number := number_of(cause)) is not None]
    words = " ".join(str(cause) for cause in chain)
    return (
        next((_NUMBERS[number] for number in numbers if number in _NUMBERS), None)
        or next((found for pattern, found in _TEXTS.items() if re.search(pattern, words)), None)
        or next(
            (found for cause in chain for kind, found in _CLASSES if isinstance(cause, kind)), None
        )
        or Diagnosis("Check host, port and TLS mode in the database settings")
    )


def is_refused(error: BaseException) -> bool:
    """Return whether the server has refused the user or the password."""
    return any(number_of(cause) in _REFUSED for cause in causes(error))


_PASSWORD = Diagnosis(
    "User or password is wrong, or the user may not connect from this host: correct the database "
    "settings, or the function in Database(password=...), or create the user (CREATE USER NAME@HOST)",
    permanent=True,
)
_NO_CREDENTIALS = Diagnosis(
    "The text of an exception is left out, since it may contain the secret: log it in the function"
)
_NO_RIGHT = Diagnosis(
    "The user may not use this database, or it does not exist: GRANT the user its rights, or correct "
    "the database settings",
    permanent=True,
)
_NO_DATABASE = Diagnosis(
    "The database does not exist: create it (CREATE DATABASE NAME), or correct the database settings",
    permanent=True,
)
_NO_ENTRY = Diagnosis(
    "The server does not let this host in: see the host of the user (CREATE USER NAME@HOST)",
    permanent=True,
)
_BLOCKED = Diagnosis(
    "The server has blocked this host after too many failed attempts: run FLUSH HOSTS there",
)
_FULL = Diagnosis(
    "All connections of the server, or of the user, are taken: lower DATABASE_POOL_SIZE and "
    "DATABASE_MAX_OVERFLOW times the number of processes, or raise max_connections",
    full=True,
)
_STOPPING = Diagnosis("The server is shutting down: wait for it")
_NOT_READY = Diagnosis(
    "The node has not joined its cluster: wait for it, or connect to another node"
)
_NO_SETTING = Diagnosis(
    "The server knows no such setting, or no such value: correct sql_mode and init_command in "
    "DATABASE_URL",
    permanent=True,
)
_NO_METHOD = Diagnosis(
    "Server and driver have no method in common to prove who the user is: use mysql_native_password "
    "for the user, or TLS (ssl-mode=REQUIRED), or install cryptography",
    permanent=True,
)
_NO_TLS = Diagnosis(
    "The server does not offer TLS: enable it there, or use ssl-mode=PREFERRED on a network you trust",
    permanent=True,
)
_UNTRUSTED = Diagnosis(
    "The server's certificate is not trusted: name its authority with ssl-ca=FILE in DATABASE_URL",
    permanent=True,
)
_OTHER_NAME = Diagnosis(
    "The server's certificate is for another host name: write the host in the database settings as the "
    "certificate has it, or use ssl-mode=VERIFY_CA if the authority vouches for this server alone",
    permanent=True,
)
_NO_HANDSHAKE = Diagnosis(
    "TLS could not be agreed on: see the server's log, and ssl-mode, ssl-cert and ssl-key in "
    "DATABASE_URL"
)
_NOT_LISTENING = Diagnosis(
    "Nothing listens there: start the server, or correct host and port in the database settings"
)
_NO_SOCKET = Diagnosis(
    "There is no such socket: start the server, or correct its path in the database settings"
)
_NO_NAME = Diagnosis("The host name is not known: correct it in the database settings")
_NO_ANSWER = Diagnosis(
    "A firewall, a wrong host, or a server too busy: check host and port, or raise "
    "DATABASE_CONNECT_TIMEOUT"
)

# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
# https://mariadb.com/kb/en/mariadb-error-code-reference/
_NUMBERS = {
    1040: _FULL,
    1044: _NO_RIGHT,
    1045: _PASSWORD,
    1047: _NOT_READY,
    1049: _NO_DATABASE,
    1053: _STOPPING,
    1129: _BLOCKED,
    1130: _NO_ENTRY,
    1193: _NO_SETTING,
    1203: _FULL,
    1226: _FULL,
    1231: _NO_SETTING,
    1251: _NO_METHOD,
    1698: _PASSWORD,
    2026: _NO_TLS,
    2059: _NO_METHOD,
}
_TEXTS = {
    NO_ANSWER: _NO_ANSWER,
    "cryptography": _NO_METHOD,
    "does not match host name|Hostname mismatch|IP address mismatch": _OTHER_NAME,
    "certificate verify failed": _UNTRUSTED,
}
_CLASSES: tuple[tuple[type[BaseException], Diagnosis], ...] = (
    (CredentialsError, _NO_CREDENTIALS),
    (ssl.SSLError, _NO_HANDSHAKE),
    (socket.gaierror, _NO_NAME),
    (ConnectionRefusedError, _NOT_LISTENING),
    (FileNotFoundError, _NO_SOCKET),
    (TimeoutError, _NO_ANSWER),
)
