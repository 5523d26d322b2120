"""Refuses starts in a run of pytest: on a database that is not for tests, or before the plugin's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.engine.runs import Runs
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.labels import Labels, shown


@dataclass(frozen=True, slots=True)
class Fixture:
    """A fixture that is being set up."""

    name: str
    function: Callable[..., object]
    scope: str

    def __str__(self) -> str:
        function = inspect.unwrap(self.function)
        code = getattr(function, "__code__", None)
        where = f" ({_relative(code.co_filename)}:{code.co_firstlineno})" if code else ""
        return f"the fixture {self.name!r}{where}"

    @property
    def parameter(self) -> str:
        """The advice to make it depend on the plugin's database."""
        function = inspect.unwrap(self.function)
        is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        wanted = "asyncdb_session" if is_async else "asyncdb_sync_sandbox"
        step = f"Add {wanted} to the parameters of {self.name!r}, which comes first then"
        if self.scope != "function":
            step += f", and remove its scope {self.scope!r}: each test starts the Database anew"
        return f"{step}."


class Starts:
    """Check each start of a ``Database``, and remember which fixture it was in.

    Args:
        allowed: URLs on which a start is allowed: see ``Labels``.
        temporary: The folder of the run's temporary files, if it is known.
        project: The folder of the project.
        file: The name of pytest's configuration file.
    """

    def __init__(self, allowed: list[str], temporary: str | None, project: Path, file: str) -> None:
        self._labels = Labels(allowed, Path(temporary) if temporary else None, project)
        self._file = file
        self._by: WeakKeyDictionary[Runs, Fixture] = WeakKeyDictionary()

    def check(self, runs: Runs, settings: DatabaseSettings | None, fixture: Fixture | None) -> None:
        """Refuse the start on a database that is not labelled as one for tests.

        Args:
            runs: Of the ``Database``.
            settings: That the start asks for.
            fixture: That is being set up.

        Raises:
            ConfigurationError: it is not labelled.
        """
        if runs.current() is not None:
            return
        if fixture is not None:
            self._by[runs] = fixture
        else:
            self._by.pop(runs, None)
        if runs.configuration.overridden:
            return
        chosen = settings or DatabaseSettings.load()
        if not self._labels.has(chosen):
            raise ConfigurationError(self._refusal(chosen, fixture))

    def _refusal(self, settings: DatabaseSettings, fixture: Fixture | None) -> str:
        url = shown(parse_url(settings.url))
        who = str(fixture or "a test")
        step = (
            fixture.parameter
            if fixture
            else "Use the fixtures asyncdb_client, or asyncdb_test_client for TestClient."
        )
        return (
            f"{who[0].upper()}{who[1:]} was about to start a Database on {url}, which is not labelled "
            "as a database for tests: most likely it is that of development, and tests change what they "
            f"find. {step} If it is for tests, set DATABASE_ENVIRONMENT=test, or add this line to "
            f"{self._file}: asyncdb_allow_urls = {self._value(url)}"
        )

    def _value(self, url: str) -> str:
        return f'["{url}"]' if self._file.endswith(".toml") else url

    def refuse_early(self, database: Database[Any]) -> None:
        """Refuse what was started before the plugin could choose its database; name the fixture.

        Raises:
            ConfigurationError: it runs.
        """
        runs = runs_of(database)
        fixture = self._by.get(runs)
        if fixture is not None and runs.started():
            raise ConfigurationError(
                f"{database!r}, by {fixture}, before the plugin could choose the database: most likely "
                f"that fixture runs the application's lifespan. {fixture.parameter}"
            )
        runs.refuse_running("The plugin starts it on the database of the tests: stop it first.")


def _relative(file: str) -> Path:
    path, here = Path(file), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
