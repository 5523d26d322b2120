"""Parses a database URL: its database and driver, and whether they are supported."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Literal

from pydantic import SecretStr
from sqlalchemy import URL

from fastapi_asyncdb.dialects.backend import Backend
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


def plain_url(url: SecretStr, driver: Literal["async", "sync"]) -> URL:
    """Translate a database URL for an engine that gets no further arguments.

    Args:
        url: As for ``parse_url``.
        driver: That of the URL, or a synchronous one, which need not be installed.

    Raises:
        InvalidDatabaseURL: as for ``parse_url``; or the driver cannot be told all of it in a URL.
        UnsupportedDriver: as for ``parse_url``.
    """
    try:
        return _plain(url.get_secret_value(), driver)
    except ConfigurationError as error:
        problem = error.with_traceback(None)
    raise problem


def _plain(text: str, driver: Literal["async", "sync"]) -> URL:
    backend, name, rest = _split(text)
    if backend.plain_url is None:
        raise UnsupportedDriver(f"{backend.name} is not served yet. Use {served()}.")
    if driver == "sync":
        installed = (each for each in backend.sync_drivers if find_spec(each) is not None)
        name = next(installed, backend.sync_drivers[0])
    return backend.plain_url(f"{backend.name}+{name}", rest)


def _parse(text: str) -> Target:
    backend, driver, rest = _split(text)
    return backend.drivers[driver](f"{backend.name}+{driver}", rest)


def _split(text: str) -> tuple[Backend, str, str]:
    """Split into the database, the driver, and what follows ``://``."""
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        raise InvalidDatabaseURL(
            "The database URL is not a URL: it has no '://'. "
            "It looks like postgresql://user:password@host:5432/name or sqlite:///./app.db."
        )
    return *_split_scheme(scheme.lower()), rest


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
        raise UnsupportedDriver(
            f"The database {name!r} is not served. Use {served()}, or install the package that adds "
            f"{name!r} to this library."
        )
    driver = backend.driver_schemes.get(driver, driver) or backend.default_driver
    if driver not in backend.drivers:
        proper = " or ".join(f"{backend.name}+{known}://" for known in backend.drivers)
        raise UnsupportedDriver(
            f"The driver {driver!r} cannot be used with async code. Write {proper} in the database "
            f"URL, or plain {backend.name}://, which means {backend.name}+{backend.default_driver}://."
        )
    return backend, driver
