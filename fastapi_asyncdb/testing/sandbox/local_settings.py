"""Settings of one transaction, which a released savepoint would keep: they are restored.

https://www.postgresql.org/docs/current/sql-set.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi_asyncdb.dialects.mysql.server_settings import timeouts
from fastapi_asyncdb.dialects.postgresql.server_settings import milliseconds
from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.testing.sandbox.connection import SharedConnection
from fastapi_asyncdb.testing.sandbox.mysql import is_mysql

_SET_LOCAL = re.compile(r"\bset\s+local\s+(time\s+zone|[\w.]+)", re.IGNORECASE)
_SET_CONFIG = re.compile(r"\bset_config\s*\(\s*(?:'([\w.]+)')?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_][\w.]*")


class LocalSettings:
    """The settings that a transaction has changed, with their values before.

    Args:
        shared: The connection.
    """

    def __init__(self, shared: SharedConnection) -> None:
        self._shared = shared
        self._mysql = is_mysql(shared.dialect)
        self._before: dict[str, str] = {}

    def change(self, values: Mapping[str, str]) -> None:
        """Set them for the transaction that begins.

        Args:
            values: SQL of the values, by name.
        """
        self.keep(values)
        scope = "SESSION" if self._mysql else "LOCAL"
        for name, value in values.items():
            self._shared.run(f"SET {scope} {name} = {value}")

    def undo(self) -> None:
        """Set them to the values before, unless the rollback has done so: that of MySQL does not."""
        if self._mysql:
            self.restore()

    def keep_what_changes(self, statement: str, parameters: Any) -> None:
        """Note the values of settings that a statement may change; other databases have none."""
        if family_of(self._shared.dialect.name) == "postgresql":
            self.keep(_names_in(statement, parameters))

    def keep(self, names: Iterable[str]) -> None:
        """Note the values of settings before their first change."""
        for name in names:
            if self._mysql:
                self._before[name] = str(self._shared.ask(f"SELECT @@SESSION.{name}"))
            elif name not in self._before:
                value = self._shared.ask(f"SELECT current_setting('{name}', true)")
                # A setting that was never set has a dot in its name; other words are no settings.
                if value is not None or "." in name:
                    self._before[name] = value or ""

    def restore(self) -> None:
        """Set them to the values before."""
        for name, value in self._before.items():
            quoted = value.replace("'", "''")
            self._shared.run(
                f"SET SESSION {name} = {value}"
                if self._mysql
                else f"SELECT set_config('{name}', '{quoted}', true)"
            )
        self._before.clear()


def server_timeouts(shared: SharedConnection, seconds: Mapping[str, float]) -> dict[str, str]:
    """Return the server's settings for the timeouts of a transaction, with SQL of their values."""
    if is_mysql(shared.dialect):
        return timeouts(seconds, mariadb=shared.driver.server_thread.mariadb)
    return {name: str(milliseconds(each)) for name, each in seconds.items()}


def _names_in(statement: str, parameters: Any) -> Iterator[str]:
    """Yield the settings that a statement may change until the transaction ends.

    A name may be a parameter: then each parameter that could be a name is one, which does no harm.
    """
    for match in _SET_LOCAL.finditer(statement):
        name = match[1].lower()
        yield "timezone" if name.startswith("time") else name
    calls = list(_SET_CONFIG.finditer(statement))
    yield from (match[1] for match in calls if match[1])
    if any(match[1] is None for match in calls):
        yield from (value for value in _strings(parameters) if _NAME.fullmatch(value))


def _strings(parameters: Any) -> Iterator[str]:
    if isinstance(parameters, str):
        yield parameters
    elif isinstance(parameters, Mapping):
        yield from _strings(list(parameters.values()))
    elif isinstance(parameters, Sequence):
        for parameter in parameters:
            yield from _strings(parameter)
