"""Where a client connects to: what the URL says, checked, and without its password."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from fastapi_asyncdb.errors import InsecureConnectionError, InvalidDatabaseURL
from fastapi_asyncdb.extras.mongo.settings import MongoSettings

_LOCAL = ("localhost", "127.0.0.1", "::1")
_UNVERIFIED = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")
_DEFAULT_DATABASE = "app"


@dataclass(frozen=True, slots=True)
class Target:
    """The hosts, the database and the options of a URL. The repr has no password."""

    hosts: tuple[str, ...]
    database: str
    options: Mapping[str, Any]
    """By their names in lower case."""
    is_local: bool
    verifies: bool
    """Whether the certificate of the server is verified."""

    def __repr__(self) -> str:
        return f"{','.join(self.hosts)}/{self.database}"


def target_of(settings: MongoSettings) -> Target:
    """Read the URL; names of ``mongodb+srv://`` are not looked up.

    Raises:
        InvalidDatabaseURL: the URL cannot be parsed, or has an option that PyMongo does not know.
        InsecureConnectionError: in production, the connection to another host would not be verified.
    """
    target = _parse(settings)
    # Raised here: the driver's message, and the frames of the parser, may have a part of the password.
    if isinstance(target, str):
        raise InvalidDatabaseURL(
            f"The MongoDB URL cannot be parsed ({target}). Most likely the user or the password has a "
            "character such as '@', ':', '/' or '%' that is not percent-encoded, or an option is "
            "misspelt. Write mongodb://user:password@host:27017/database, with "
            "urllib.parse.quote_plus(password)."
        )
    if settings.environment == "production" and not (target.is_local or target.verifies):
        raise InsecureConnectionError(
            f"The environment is production, and the connection to {target!r} would not verify the "
            "server's certificate. Add tls=true to the URL, and tlsCAFile=... for a certificate "
            "authority of your own; leave out tlsInsecure and tlsAllowInvalid..."
        )
    return target


def _parse(settings: MongoSettings) -> Target | str:
    """Return what the URL says, or the name of the driver's error."""
    url = settings.url.get_secret_value()
    is_srv = url.startswith("mongodb+srv://")
    try:
        parsed = parse_uri(url.replace("mongodb+srv://", "mongodb://", 1), warn=False)
    except (PyMongoError, ValueError) as error:
        return type(error).__name__
    hosts = [
        f"{host}:{port}" if port and not is_srv else str(host) for host, port in parsed["nodelist"]
    ]
    options = {name.lower(): value for name, value in parsed["options"].items()}
    names = [str(host) for host, _ in parsed["nodelist"]]
    return Target(
        hosts=tuple(hosts),
        database=settings.database or parsed["database"] or _DEFAULT_DATABASE,
        options=options,
        is_local=all(name in _LOCAL or name.startswith("/") for name in names),
        verifies=options.get("tls", is_srv) and not any(options.get(name) for name in _UNVERIFIED),
    )
