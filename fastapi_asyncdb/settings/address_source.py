"""``AddressSource``: the URL, from the parts that arguments and variables name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings.address import PARTS, Address
from fastapi_asyncdb.settings.prefixed import problem_of
from fastapi_asyncdb.settings.variables import Variables

OWN_PREFIX = "DATABASE_"
WORDS: Mapping[str, tuple[str, ...]] = {
    "host": ("HOST", "SERVER"),
    "port": ("PORT",),
    "user": ("USER", "USERNAME"),
    "password": ("PASSWORD", "PASS"),
    "name": ("NAME", "DB", "DATABASE"),
    "driver": ("DRIVER",),
}
"""What a variable is named behind its prefix: ``POSTGRES_SERVER``, ``DB_USERNAME``."""
FAMILIES: Mapping[str, str | None] = {
    "DB_": None,
    "POSTGRES_": "postgresql",
    "MYSQL_": "mysql",
    "MARIADB_": "mariadb",
}
"""The prefixes that others write, in their order, and the database that the prefix tells. Those of
servers are the names of Docker's images: https://hub.docker.com/_/postgres"""


@dataclass(frozen=True, slots=True)
class _Part:
    source: str
    """The name of the argument or the variable."""
    value: object
    family: str = ""
    """The prefix of the variable."""


class AddressSource(PydanticBaseSettingsSource):
    """Make the URL from its parts, unless there is a URL that comes before them.

    Args:
        settings_cls: The class of the settings.
        arguments: Those of the settings.
        variables: The variables that have no argument.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        arguments: Mapping[str, Any],
        variables: Variables,
    ) -> None:
        super().__init__(settings_cls)
        self._arguments = arguments
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return nothing: the parts make one field together."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the URL, or nothing.

        Raises:
            ConfigurationError: there is a URL among the arguments as well, or too little, or a part is
                wrong.
        """
        given = {
            part: _Part(part, self._arguments[part])
            for part in PARTS
            if _plain(self._arguments.get(part)) not in (None, "")
        }
        if "url" in self._arguments and given:
            raise _wrong(
                f"url and {', '.join(given)} are arguments together; pass the URL, or its parts"
            )
        if "url" in self._arguments or (not given and self._has_url()):
            return {}
        found = self._found(host_is_given="host" in given) | given
        if not found:
            return {}
        if str(_plain(found["driver"].value) if "driver" in found else "").startswith("sqlite"):
            found = _of_file(found, given)
        self._refuse_half_addresses(found)
        return {"url": _url(found | self._driver(found))}

    def _has_url(self) -> bool:
        return self._variables.has(f"{self._variables.prefix}URL")

    def _found(self, *, host_is_given: bool) -> dict[str, _Part]:
        """Return the parts that variables name; a host that code names gets no password of others."""
        families = self._families()[: 1 if host_is_given else None]
        found = {part: next(self._parts(part, families), None) for part in PARTS}
        return {name: part for name, part in found.items() if part is not None}

    def _families(self) -> list[str]:
        """Return the prefixes that count; a prefix of one's own is the only one."""
        prefix = self._variables.prefix
        if not prefix:
            return []  # USER and HOST are variables of every shell
        return [prefix, *FAMILIES] if prefix.upper() == OWN_PREFIX else [prefix]

    def _parts(self, part: str, families: list[str]) -> Iterator[_Part]:
        for family in families:
            for word in WORDS[part]:
                value = self._variables.find(family + word)
                if value is not None and not (part == "port" and _is_of_kubernetes(value)):
                    yield _Part((family + word).upper(), value, family.upper())

    def _refuse_half_addresses(self, found: Mapping[str, _Part]) -> None:
        if found.keys() & {"host", "name"}:
            return
        prefix = self._variables.prefix.upper()
        raise _wrong(
            f"of the address of the database there is only {_names(found)}. Set {prefix}HOST or "
            f"{prefix}NAME as well, or {prefix}URL, which comes before all parts; for a file of SQLite "
            f"{prefix}URL=sqlite:///./app.db"
        )

    def _driver(self, found: Mapping[str, _Part]) -> dict[str, _Part]:
        """Return the driver that the prefixes tell, if no part says it."""
        told = {
            part.family: driver for part in found.values() if (driver := FAMILIES.get(part.family))
        }
        if not told or "driver" in found:
            return {}
        if len(told) > 1:
            raise _wrong(
                f"{_names(found)} are of different databases. Set {OWN_PREFIX}DRIVER, or {OWN_PREFIX}URL"
            )
        return {"driver": _Part("driver", *told.values())}


def _of_file(found: Mapping[str, _Part], given: Mapping[str, _Part]) -> dict[str, _Part]:
    """Return the parts that SQLite has; those of a server are there for other runs, in ``.env``."""
    server = {name: part for name, part in found.items() if name not in ("name", "driver")}
    if wrong := server.keys() & given:
        raise _wrong(f"SQLite has a file and no server: leave {', '.join(sorted(wrong))} out")
    if "name" not in found:
        raise _wrong(f"{found['driver'].source} says SQLite, and no name says which file")
    return {name: part for name, part in found.items() if name not in server}


def _url(found: Mapping[str, _Part]) -> SecretStr:
    """Return the URL of checked parts."""
    try:
        return Address.model_validate(
            {name: _plain(part.value) for name, part in found.items()}
        ).url()
    except ValidationError as error:
        details = error.errors(include_input=False)
    raise _wrong(
        "; ".join(f"{found[str(each['loc'][0])].source}: {problem_of(each)}" for each in details)
    )


def _plain(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _is_of_kubernetes(port: SecretStr) -> bool:
    """Return whether it is no port: a service named "db" sets ``DB_PORT=tcp://10.0.0.1:5432``.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    return port.get_secret_value().startswith("tcp://")


def _names(found: Mapping[str, _Part]) -> str:
    return ", ".join(part.source for part in found.values())


def _wrong(problem: str) -> ConfigurationError:
    return ConfigurationError(f"The database settings are wrong: {problem}.")
