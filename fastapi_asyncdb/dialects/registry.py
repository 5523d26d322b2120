"""The list of the databases. A new one is a folder, and one line here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DataError, StatementError

from fastapi_asyncdb.dialects.base import Backend, Preset
from fastapi_asyncdb.dialects.mysql import MARIADB, MYSQL
from fastapi_asyncdb.dialects.postgresql import BACKEND as POSTGRESQL
from fastapi_asyncdb.dialects.rejection import Rejection
from fastapi_asyncdb.dialects.sqlite import BACKEND as SQLITE
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import UnsupportedDriver

if TYPE_CHECKING:
    from fastapi_asyncdb.dialects.doctor import Doctor

_BACKENDS = (POSTGRESQL, SQLITE, MYSQL, MARIADB)
_BY_SCHEME = {scheme: known for known in _BACKENDS for scheme in (known.name, *known.schemes)}


def backend_for(scheme: str) -> Backend | None:
    """Return the database that a URL's scheme names, without its driver; ``None`` for another."""
    return _BY_SCHEME.get(scheme)


def preset_for(target: Target) -> Preset:
    """Return the preset for a target.

    Raises:
        UnsupportedDriver: the URL is understood, but its database has no preset yet.
    """
    backend = _BY_SCHEME[target.url.get_backend_name()]
    if backend.preset is None:
        raise UnsupportedDriver(f"{backend.name} is not served yet. Use {served()}.")
    return backend.preset


def preset_of(dialect: Dialect) -> Preset | None:
    """Return the preset for the database of an engine, which may be the user's own."""
    backend = backend_of(dialect)
    return None if backend is None else backend.preset


def backend_of(dialect: Dialect) -> Backend | None:
    """Return the database of an engine, which may be the user's own; ``None`` for an unknown one."""
    return _BY_SCHEME.get(dialect.name)


def doctor_for(target: Target) -> Doctor | None:
    """Return the checks of a target's database; ``None`` if it has none of its own."""
    backend = _BY_SCHEME[target.url.get_backend_name()]
    if backend.doctor is None:
        return None
    doctor: Doctor = import_module(backend.doctor).DOCTOR
    return doctor


def is_conflict(error: BaseException) -> bool | None:
    """Return whether an error's transaction may succeed when it is run again from the start.

    Args:
        error: One exception, a driver's or SQLAlchemy's around it; its causes are not looked at.

    Returns:
        Whether another transaction was in its way; ``None`` if no database knows the error.
    """
    verdicts = (backend.is_conflict(error) for backend in _BACKENDS)
    return next((verdict for verdict in verdicts if verdict is not None), None)


def rejection_of(error: BaseException) -> Rejection | None:
    """Return why a database, or its driver, rejected the statement of an error.

    Args:
        error: SQLAlchemy's, around a driver's.

    Returns:
        ``None`` if no database knows the error.
    """
    found = (backend.rejection_of(error) for backend in _BACKENDS)
    rejection = next((each for each in found if each is not None), None)
    if rejection is None and _has_a_value_out_of_range(error):
        return Rejection("value")
    return rejection


def _has_a_value_out_of_range(error: BaseException) -> bool:
    """Return whether a value could not be sent; such errors come from Python, and have no code."""
    if not isinstance(error, StatementError):
        return False
    if isinstance(error.orig, OverflowError | UnicodeError):
        return True
    return isinstance(error, DataError) and getattr(error.orig, "sqlstate", None) is None


def served() -> str:
    """Return the databases that are served, as a message lists them."""
    return " or ".join(f"{known.name}://" for known in _BACKENDS if known.preset is not None)
