"""The databases that the library knows. One more is one folder, and one line here."""

from __future__ import annotations

from fastapi_asyncdb.dialects.base import Backend, Preset
from fastapi_asyncdb.dialects.mysql import MARIADB, MYSQL
from fastapi_asyncdb.dialects.postgresql import BACKEND as POSTGRESQL
from fastapi_asyncdb.dialects.sqlite import BACKEND as SQLITE
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import UnsupportedDriver

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


def served() -> str:
    """Return the databases that are served, as a message lists them."""
    return " or ".join(f"{known.name}://" for known in _BACKENDS if known.preset is not None)
