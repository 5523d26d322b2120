"""Which preset serves which database."""

from __future__ import annotations

from fastapi_asyncdb.dialects.postgresql import PostgreSQL
from fastapi_asyncdb.dialects.preset import Preset
from fastapi_asyncdb.dialects.sqlite import SQLite
from fastapi_asyncdb.errors import UnsupportedDriver
from fastapi_asyncdb.url import Target

_PRESETS: dict[str, Preset] = {"postgresql": PostgreSQL(), "sqlite": SQLite()}


def preset_for(target: Target) -> Preset:
    """Return the preset for a target.

    Raises:
        UnsupportedDriver: the URL is understood, but its database has no preset yet.
    """
    backend = target.url.get_backend_name()
    if backend not in _PRESETS:
        raise UnsupportedDriver(
            f"{backend} is not served yet. Use PostgreSQL (postgresql://) or SQLite (sqlite://)."
        )
    return _PRESETS[backend]
