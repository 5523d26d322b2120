"""The URL of a server for tests, with one of its databases."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from fastapi_asyncdb.dialects.parts import Host, Parts, split


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A server that all workers share.

    A test must not stop, kill or reconfigure it; for that it starts one of its own.
    """

    _url: str = field(repr=False)
    """May contain a password."""

    def url(self, database: str | None = None) -> str:
        """Return a URL of one of its databases; by default of the one that clients start from."""
        if database is None:
            return self._url
        return with_database(SecretStr(self._url), database).get_secret_value()


def with_database(url: SecretStr, name: str) -> SecretStr:
    """Return a server's URL with another database in it, and everything else as it was."""
    scheme, _, rest = url.get_secret_value().strip().partition("://")
    parts = split(rest)
    parts.database = name
    return SecretStr(f"{scheme}://{_joined(parts)}")


def _joined(parts: Parts) -> str:
    """Join the parts of ``split()`` again."""
    user = quote(parts.user or "", safe="")
    if parts.password is not None:
        user += f":{quote(parts.password, safe='')}"
    hosts = ",".join(_host(host) for host in parts.hosts)
    query = f"?{urlencode(parts.query, quote_via=quote)}" if parts.query else ""
    return f"{user}{'@' if user else ''}{hosts}/{quote(parts.database or '', safe='')}{query}"


def _host(host: Host) -> str:
    name, port = host
    shown = f"[{name}]" if ":" in name and not name.startswith("/") else quote(name, safe="")
    return shown if port is None else f"{shown}:{port}"
