"""Both applications, on the PostgreSQL of ``ADOPTION_DATABASE_URL``, which the template asks for."""

import os
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient
from sqlalchemy import make_url
from sqlmodel import Session, create_engine

URL = make_url(os.environ["ADOPTION_DATABASE_URL"])
os.environ |= {
    "POSTGRES_SERVER": URL.host or "localhost",
    "POSTGRES_PORT": str(URL.port or 5432),
    "POSTGRES_USER": URL.username or "postgres",
    "POSTGRES_PASSWORD": URL.password or "",
    "POSTGRES_DB": URL.database or "",
}


@pytest.fixture(scope="session")
def tables() -> None:
    """The migrations, as they are."""
    command.upgrade(Config("alembic.ini"), "head")


@pytest.fixture(scope="session", params=["before", "after"])
def side(request: pytest.FixtureRequest, tables: None) -> str:
    """The name of a package."""
    return request.param


@pytest.fixture(scope="session")
def main(side: str) -> ModuleType:
    """The module of the application."""
    return import_module(f"{side}.main")


@pytest.fixture(scope="session")
def client(main: ModuleType) -> Iterator[TestClient]:
    """As the template has it: a synchronous client, here with the lifespan."""
    with TestClient(main.app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def db() -> Iterator[Session]:
    """As the template has it: a synchronous session, which prepares rows and looks at them."""
    engine = create_engine(URL.set(drivername="postgresql+psycopg"))
    with Session(engine) as session:
        yield session
    engine.dispose()
