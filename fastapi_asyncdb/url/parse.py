"""Which driver a URL means, and whether it is served."""

from __future__ import annotations

import re
from collections.abc import Callable

from pydantic import SecretStr

from fastapi_asyncdb.errors import ConfigurationError, InvalidDatabaseURL, UnsupportedDriver
from fastapi_asyncdb.url import mysql, postgresql, sqlite
from fastapi_asyncdb.url.target import Target

Reader = Callable[[str, str], Target]

_DEFAULT_DRIVERS = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "mysql": "mysql+aiomysql",
    "mariadb": "mariadb+aiomysql",
}
# For each database, what reads the rest of the URL for each driver.
_READERS: dict[str, dict[str, Reader]] = {
    "postgresql": {"asyncpg": postgresql.for_asyncpg, "psycopg": postgresql.for_psycopg},
    "sqlite": {"aiosqlite": sqlite.for_aiosqlite},
    "mysql": {"aiomysql": mysql.for_aiomysql, "asyncmy": mysql.for_aiomysql},
    "mariadb": {"aiomysql": mysql.for_aiomysql, "asyncmy": mysql.for_aiomysql},
}


def parse_url(url: str | SecretStr) -> Target:
    """Translate a database URL for its async driver.

    Args:
        url: A URL with or without a driver: ``postgres://``, ``sqlite://``, ``mysql+aiomysql://`` ...
            User, password and database may be percent-encoded. A raw ``@``, ``:``, ``#`` or ``%`` in
            the password is understood; a raw ``/`` or ``?`` is, unless the URL then has two readings.

    Returns:
        The URL, the driver's connect arguments, the hosts and the TLS mode.

    Raises:
        InvalidDatabaseURL: the text is no URL, or has a parameter that the driver does not have.
        UnsupportedDriver: the driver is synchronous, or the database is not served.
    """
    # Some loggers print the local variables of a traceback: from here on, none holds the text.
    url = url if isinstance(url, SecretStr) else SecretStr(url)
    try:
        return _parse(url.get_secret_value())
    except ConfigurationError as error:
        problem = error.with_traceback(None)
    raise problem


def _parse(text: str) -> Target:
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        raise InvalidDatabaseURL(
            "The database URL is not a URL: it has no '://'. "
            "It looks like postgresql://user:password@host:5432/name or sqlite:///./app.db."
        )
    backend, driver = _split_scheme(scheme.lower())
    return _READERS[backend][driver](f"{backend}+{driver}", rest)


def _split_scheme(scheme: str) -> tuple[str, str]:
    if scheme.startswith("jdbc:"):
        raise UnsupportedDriver(
            "The database URL is a JDBC URL. Remove 'jdbc:' and put user and password in front of "
            "the host: postgresql://user:password@host:5432/name."
        )
    if not re.fullmatch("[a-z][a-z0-9_+.-]*", scheme):
        raise InvalidDatabaseURL(
            "The database URL does not begin with a scheme such as postgresql:// or sqlite://. "
            "Quotes around it, or a name in front of it, are not part of a URL: remove them."
        )
    backend, _, driver = _DEFAULT_DRIVERS.get(scheme, scheme).partition("+")
    backend = "postgresql" if backend == "postgres" else backend
    # SQLAlchemy's two names for psycopg's async mode.
    driver = "psycopg" if driver == "psycopg_async" else driver
    readers = _READERS.get(backend)
    if readers is None:
        raise UnsupportedDriver(
            f"The database {backend!r} is not served. Use postgresql:// or sqlite://."
        )
    if driver not in readers:
        proper = " or ".join(f"{backend}+{name}://" for name in readers)
        raise UnsupportedDriver(
            f"The driver {driver!r} cannot be used with async code. Write {proper} in the database "
            f"URL, or plain {backend}://, which means {_DEFAULT_DRIVERS[backend]}://."
        )
    return backend, driver
