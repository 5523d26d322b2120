"""The list of the databases. A new one is a folder, and one line here; or registered by its package."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import DataError, StatementError

from fastapi_asyncdb.dialects.backend import Backend
from fastapi_asyncdb.dialects.base import Preset
from fastapi_asyncdb.dialects.json import JsonFormat
from fastapi_asyncdb.dialects.mysql import MARIADB, MYSQL
from fastapi_asyncdb.dialects.postgresql import BACKEND as POSTGRESQL
from fastapi_asyncdb.dialects.registration import check
from fastapi_asyncdb.dialects.rejection import Rejection
from fastapi_asyncdb.dialects.sqlite import BACKEND as SQLITE
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ConfigurationError, UnsupportedDriver

if TYPE_CHECKING:
    from fastapi_asyncdb.dialects.doctor import Doctor

ENTRY_POINTS = "fastapi_asyncdb.dialects"
"""The group of entry points of packages with a database: the scheme, and where its ``Backend`` is."""

_BACKENDS = [POSTGRESQL, SQLITE, MYSQL, MARIADB]
# The errors of MySQL's drivers have an SQLSTATE as well as PostgreSQL's, and a number before it.
_BY_ERROR = [MYSQL, POSTGRESQL, SQLITE]
_BY_SCHEME = {scheme: known for known in _BACKENDS for scheme in (known.name, *known.schemes)}


def register_dialect(backend: Backend) -> None:
    """Add a database, for URLs and engines that are used from then on.

    A package that is to be found without being imported names its ``Backend`` in an entry point of the
    group ``fastapi_asyncdb.dialects``. It is registered with the first URL that has its scheme.

    Args:
        backend: The database: usually ``dataclasses.replace(POSTGRESQL, name=..., schemes=(), ...)``.
            Adding an equal one again does nothing.

    Raises:
        ConfigurationError: another database has one of the schemes; there is no driver; or the preset
            lacks members of ``Preset``.
    """
    if backend in _BACKENDS:
        return
    check(backend)
    schemes = (backend.name, *backend.schemes)
    taken = next((scheme for scheme in schemes if scheme in _BY_SCHEME), None)
    if taken is not None:
        raise ConfigurationError(
            f"URLs with {taken}:// are those of {_BY_SCHEME[taken].name} already, so {backend.name} "
            "cannot be registered for them. Give it another name, and no schemes of other databases: "
            "dataclasses.replace(..., schemes=()) drops those of the original."
        )
    # Before the others that know the same drivers: each of them has a verdict on every error.
    known = [index for index, each in enumerate(_BY_ERROR) if each.family == backend.family]
    _BY_ERROR.insert(min(known, default=0), backend)
    _BACKENDS.append(backend)
    _BY_SCHEME.update(dict.fromkeys(schemes, backend))


def backend_for(scheme: str) -> Backend | None:
    """Return the database that a URL's scheme names, without its driver; ``None`` for another."""
    return _BY_SCHEME.get(scheme) or _installed(scheme)


@cache
def _installed(scheme: str) -> Backend | None:
    """Register the database that an installed package names for a scheme, and return it."""
    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        try:
            register_dialect(entry.load())
        except Exception as error:
            raise ConfigurationError(
                f"The database {scheme!r} is that of an installed package, whose entry point "
                f"{entry.value!r} cannot be used: {error}"
            ) from error
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
    return backend_for(dialect.name)


def json_of(dialect: Dialect) -> JsonFormat | None:
    """Return how the database of an engine builds JSON; ``None`` if it does not."""
    backend = backend_of(dialect)
    if backend is None or backend.json is None:
        return None
    return backend.json.for_dialect(dialect)


def may_build_json(dialect: Dialect) -> bool:
    """Return whether ``json_of`` may find more once there is a connection."""
    backend = backend_of(dialect)
    if backend is None or backend.json is None or not backend.json.depends_on_server:
        return False
    return not dialect.server_version_info


def family_of(name: str) -> str:
    """Return the database whose SQL a database has.

    Args:
        name: SQLAlchemy's, of the dialect.

    Returns:
        ``postgresql``, ``mysql`` or ``sqlite``; the name itself if it is unknown.
    """
    backend = backend_for(name)
    return name if backend is None else backend.family


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
    verdicts = (backend.is_conflict(error) for backend in _BY_ERROR)
    return next((verdict for verdict in verdicts if verdict is not None), None)


def rejection_of(error: BaseException) -> Rejection | None:
    """Return why a database, or its driver, rejected the statement of an error.

    Args:
        error: SQLAlchemy's, around a driver's.

    Returns:
        ``None`` if no database knows the error.
    """
    found = (backend.rejection_of(error) for backend in _BY_ERROR)
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
