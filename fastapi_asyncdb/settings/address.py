"""``Address``: the parts of a database URL, checked, and the URL that they make."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from sqlalchemy import URL

from fastapi_asyncdb.settings.urls import render


class Address(BaseModel):
    """Where a database is, in parts: what a URL says in one line."""

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True, frozen=True)

    host: str | None = None
    """A name, an address, or the folder of PostgreSQL's socket; by default ``localhost``."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """By default the database's own."""
    user: str | None = None
    """By default the driver's own choice."""
    password: SecretStr | None = None
    """As it is, without percent-encoding."""
    name: str | None = None
    """The name of the database; of SQLite the path of the file."""
    driver: str = "postgresql"
    """The scheme of the URL: ``mysql``, ``postgresql+psycopg``."""

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str | None) -> str | None:
        if host is None or host.startswith("/"):
            return host
        bare = host.removeprefix("[").removesuffix("]")
        if _is_address(bare) or re.fullmatch(r"[\w.-]+", bare):
            return bare
        raise ValueError(
            "is no host name and no address. The port has a setting of its own; a URL, or several "
            "hosts, belong into the setting of the URL"
        )

    @field_validator("driver")
    @classmethod
    def _check_driver(cls, driver: str) -> str:
        if re.fullmatch(r"[a-zA-Z][\w+.-]*", driver, re.ASCII):
            return driver.lower()
        raise ValueError("is no scheme of a URL such as postgresql, mysql or postgresql+psycopg")

    def url(self) -> SecretStr:
        """Return the URL, with everything in it percent-encoded that needs it."""
        password = self.password.get_secret_value() if self.password else None
        user = self.user or ("" if password else None)  # SQLAlchemy writes no password without one
        url = URL.create(self.driver, user, password, database=self.name, **self._server())
        return SecretStr(render(url))

    def _server(self) -> dict[str, Any]:
        """Return the host and port, which stand in the query if the host is a socket."""
        if self.host is None or not self.host.startswith("/"):
            default = None if self.driver.startswith("sqlite") else "localhost"
            return {"host": self.host or default, "port": self.port}
        if self.driver.startswith(("mysql", "mariadb")):
            return {"query": {"unix_socket": self.host}}
        port = {} if self.port is None else {"port": str(self.port)}
        return {"query": {"host": self.host} | port}


PARTS = tuple(Address.model_fields)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
