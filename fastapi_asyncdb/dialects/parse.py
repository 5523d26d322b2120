"""Parses a database URL: its database and driver, and whether they are supported."""

from __future__ import annotations

import re

from pydantic import SecretStr

from fastapi_asyncdb.dialects.base import Backend
from fastapi_asyncdb.dialects.registry import backend_for, served
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ConfigurationError, InvalidDatabaseURL, UnsupportedDriver


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
    # Some loggers print the local variables of a traceback: from here on, none contains the text.
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
    return backend.drivers[driver](f"{backend.name}+{driver}", rest)


def _split_scheme(scheme: str) -> tuple[Backend, str]:
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
    name, _, driver = scheme.partition("+")
    backend = backend_for(name)
    if backend is None:
        raise UnsupportedDriver(f"The database {name!r} is not served. Use {served()}.")
    driver = backend.driver_schemes.get(driver, driver) or backend.default_driver
    if driver not in backend.drivers:
        proper = " or ".join(f"{backend.name}+{known}://" for known in backend.drivers)
        raise UnsupportedDriver(
            f"The driver {driver!r} cannot be used with async code. Write {proper} in the database "
            f"URL, or plain {backend.name}://, which means {backend.name}+{backend.default_driver}://."
        )
    return backend, driver
