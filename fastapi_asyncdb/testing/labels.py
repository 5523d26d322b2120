"""Which databases are for tests: no test starts a ``Database`` on another one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL

from fastapi_asyncdb.dialects import Target, parse_url
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.servers.folder import private_ports
from fastapi_asyncdb.testing.servers.given import has_test_in_it


@dataclass(frozen=True, slots=True)
class Labels:
    """What labels a database as one for tests, beside its name.

    Args:
        allowed: URLs as ``shown`` returns them, or patterns of the shell for them.
        temporary: The folder of the run's temporary files, if it is known.
        project: A project in the system's folder of temporary files is not temporary itself.
    """

    allowed: Sequence[str]
    temporary: Path | None
    project: Path

    def has(self, settings: DatabaseSettings) -> bool:
        """Return whether the database of these settings is labelled.

        Raises:
            ConfigurationError: the URL cannot be parsed.
        """
        target = parse_url(settings.url)
        return (
            settings.environment == "test"
            or has_test_in_it(Path(target.url.database or "").name)
            or _is_private(target)
            or (target.url.get_backend_name() == "sqlite" and self._is_temporary(target.url))
            or self._is_allowed(shown(target))
        )

    def _is_temporary(self, url: URL) -> bool:
        name = (url.database or "").removeprefix("file:")
        if name in ("", ":memory:") or url.query.get("mode") == "memory":
            return True
        path = Path(name).resolve()
        if self.temporary is not None and path.is_relative_to(self.temporary.resolve()):
            return True
        system = Path(tempfile.gettempdir()).resolve()
        return path.is_relative_to(system) and not path.is_relative_to(self.project.resolve())

    def _is_allowed(self, url: str) -> bool:
        return (
            url in self.allowed
            or any(fnmatchcase(url, pattern) for pattern in self.allowed)
            or url in _test_urls()
        )


def shown(target: Target) -> str:
    """Return the URL as patterns see it: without driver, user, password and parameters."""
    url = target.url
    backend = "mysql" if url.get_backend_name() == "mariadb" else url.get_backend_name()
    host = ",".join(target.hosts) or url.host
    if host is not None and host.startswith("/"):
        host = None
    return str(URL.create(backend, host=host, port=url.port, database=url.database))


def _is_private(target: Target) -> bool:
    port = target.url.port or target.url.query.get("port")
    return target.is_local and str(port) in map(str, private_ports)


def _test_urls() -> Iterator[str]:
    """Return the databases of variables such as TEST_DATABASE_URL, as ``shown``."""
    for name, value in os.environ.items():
        if name.startswith("TEST_") and name.endswith("_URL"):
            try:
                yield shown(parse_url(SecretStr(value)))
            except ConfigurationError:
                continue  # of another kind of server, or wrong: then nothing is labelled by it
