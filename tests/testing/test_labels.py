"""Which databases are for tests, by their URL and settings; and what the refusal of others says."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from pydantic import SecretStr

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.testing.databases.settings import settings_for
from fastapi_asyncdb.testing.labels import Labels
from fastapi_asyncdb.testing.servers.folder import free_port
from fastapi_asyncdb.testing.starts import Fixture, Starts

PROJECT = Path(__file__).parent
TEMPORARY = Path(tempfile.gettempdir()) / "asyncdb" / "x.db"


def labels(*allowed: str) -> Labels:
    """Labels of a run of this project."""
    return Labels(allowed, None, PROJECT)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        f"sqlite:///{TEMPORARY}",
        "sqlite:///data/test.db",
        "postgresql://db/app_test",
        "mysql://db/TestApp",
        "mariadb://db:3307/shop",
        "postgresql+psycopg://eve:other@ci.example/shop?sslmode=require",
    ],
)
def test_labelled(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, place, a variable for tests, or a pattern of the project."""
    monkeypatch.setenv("TEST_SHOP_URL", "postgresql://ada:secret@ci.example/shop")
    monkeypatch.setenv("TEST_PAYMENT_URL", "https://payment.example")
    assert labels("mysql://db:*/shop").has(DatabaseSettings(url=url))


def test_private_server_is_labelled() -> None:
    """Any database of a server that this run has started, by its port; on this machine only."""
    port = free_port()
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    assert labels().has(DatabaseSettings(url=url))
    assert not labels().has(DatabaseSettings(url=url.replace("127.0.0.1", "db")))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///./app.db",
        f"sqlite:///{PROJECT / 'app.db'}",
        "postgresql://localhost/shop",
        "postgresql://localhost/contest",
        "postgresql://test-server/shop",
        "mysql://db/shop",
    ],
)
def test_not_labelled(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Development's and production's; what settings say of the environment labels each of them."""
    monkeypatch.chdir(PROJECT)
    assert not labels("postgresql://db/*").has(DatabaseSettings(url=url))
    assert labels().has(DatabaseSettings(url=url, environment="test"))


def test_refusal_shows_no_password_and_works_as_a_line() -> None:
    """The line that it tells to add allows the database; the fixture and its scope are named."""
    starts = Starts([], None, PROJECT, "pyproject.toml")
    settings = DatabaseSettings(url="postgresql://ada:secret@[::1]:54/shop")
    fixture = Fixture("client", test_labelled, "session")
    runs = runs_of(Database())
    with pytest.raises(ConfigurationError) as refused:
        starts.check(runs, settings, fixture)
    said = str(refused.value)
    assert "secret" not in said
    assert f"The fixture 'client' ({Path(__file__).relative_to(Path.cwd())}:" in said
    assert "remove its scope 'session'" in said
    assert 'asyncdb_allow_urls = ["postgresql://[::1]:54/shop"]' in said
    Starts(["postgresql://[::1]:54/shop"], None, PROJECT, "x").check(runs, settings, fixture)
    with pytest.raises(ConfigurationError, match="A test was about to start"):
        starts.check(runs, settings, None)


def test_settings_that_the_kit_gives_are_for_tests() -> None:
    """Overridden ones, whatever they name."""
    handle = Database()
    url = SecretStr("postgresql://localhost/shop")
    with handle.override_settings(settings_for(url, handle)):
        Starts([], None, PROJECT, "x").check(runs_of(handle), None, None)
