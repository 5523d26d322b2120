"""What a database must have to be registered, and what SQLAlchemy must know of it."""

from __future__ import annotations

import re

from sqlalchemy.engine.interfaces import Dialect

from fastapi_asyncdb.dialects.backend import Backend
from fastapi_asyncdb.dialects.base import Preset
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ConfigurationError

_MEMBERS = [name for name in vars(Preset) if not name.startswith("_")]
_SCHEME = re.compile(r"[a-z][a-z0-9_.-]*")


def check(backend: Backend) -> None:
    """Refuse a database that lacks something.

    Raises:
        ConfigurationError: it is no ``Backend``, a scheme cannot stand in a URL, it has no driver, or
            its preset lacks members.
    """
    if not isinstance(backend, Backend):
        raise ConfigurationError(
            f"{backend!r} is no Backend, so it is no database. Make one with "
            "dataclasses.replace(POSTGRESQL, name=..., schemes=()), of fastapi_asyncdb.dialects."
        )
    for scheme in (backend.name, *backend.schemes):
        if _SCHEME.fullmatch(scheme) is None:
            raise ConfigurationError(
                f"{scheme!r} is no scheme of a URL. Write lower-case letters, digits, '.', '-' and "
                "'_', and no driver."
            )
    if not backend.drivers:
        raise ConfigurationError(
            f"The Backend of {backend.name} has no drivers. Name one at least."
        )
    missing = [name for name in _MEMBERS if not hasattr(backend.preset, name)]
    if missing:
        raise ConfigurationError(
            f"The preset of {backend.name} lacks {', '.join(missing)}. A class that derives from one of "
            "this library, such as PostgreSQL, has all; others follow the protocol Preset."
        )


def check_dialect(dialect: Dialect, target: Target) -> None:
    """Refuse SQLAlchemy's dialect for a URL if it has another name: everything else goes by its name.

    Raises:
        ConfigurationError: the names differ.
    """
    name = target.url.get_backend_name()
    if dialect.name != name:
        raise ConfigurationError(
            f"SQLAlchemy's dialect for {target.url.drivername}:// is {type(dialect).__name__}, whose "
            f"name is {dialect.name!r}, not {name!r}: its sessions would be treated as those of "
            f"{dialect.name}. Set name = {name!r} on the class, and let get_async_dialect_cls() return "
            "one with that name, if it has that method."
        )
