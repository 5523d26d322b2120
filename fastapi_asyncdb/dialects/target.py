"""``Target``: the result of parsing a URL, with masked passwords."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import URL

from fastapi_asyncdb.credentials import CredentialsCache

TLSMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class Masked(str):
    """A password, for code that needs text, as SQLAlchemy's ``URL`` does.

    Loggers that print local variables show the representation of each value, also inside of tuples,
    and a ``URL`` is a tuple. Code that needs the text gets the text.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        """Return it as it is, masked still: ``str(url.password)`` must not bring it to light."""
        return self

    def __getitem__(self, key: Any) -> Masked:
        """Return a part, masked as well: loggers shorten long text before they print it."""
        return Masked(super().__getitem__(key))


def supplier(text: str) -> Callable[[], str]:
    """Return a function that returns the text, as drivers take passwords that change.

    Unlike text, neither its ``repr`` nor its ``str`` shows the password.
    """
    return lambda: str.__str__(text)


@dataclass(frozen=True, slots=True)
class TLS:
    """How the connection is encrypted, in libpq's words. The repr leaves the password out.

    https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION
    """

    mode: TLSMode = "prefer"
    root_cert: str | None = None
    """Path of the trusted authorities, or ``system``."""
    cert: str | None = None
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)

    @property
    def verified(self) -> bool:
        """Whether the server has to prove who it is.

        As in libpq, ``require`` with authorities at hand means ``verify-ca``.
        """
        if self.mode == "require":
            return self.root_cert is not None
        return self.mode in ("verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Target:
    """The address of a database and the arguments of its driver. The repr masks the password."""

    url: URL
    """The URL for ``create_async_engine``, with nothing in it that the driver would refuse."""
    connect_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for the driver that a URL cannot carry."""
    hosts: tuple[str, ...] = ()
    """Host names, addresses or socket directories; empty for the driver's own default."""
    tls: TLS = TLS()
    connect_timeout: float | None = None
    """Seconds for one host, if the URL says so; 0 is no limit."""
    pooled: bool | None = None
    """Whether there is a pooler in front of the server, if the URL says so."""
    credentials: CredentialsCache | None = None
    """Where the password comes from, if it does not come from the URL."""
    is_replica: bool = False
    """Whether it is a read replica: its server refuses writes, also after it has become the primary."""

    @property
    def address(self) -> str:
        """Where the server is, for messages: ``db2:5432``."""
        hosts = ",".join(self.hosts) or "localhost"
        return f"{hosts}:{self.url.port}" if self.url.port else hosts

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves this machine."""
        return all(_is_local(host) for host in self.hosts)


def _is_local(host: str) -> bool:
    if host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
