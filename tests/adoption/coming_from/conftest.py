"""Each application, before and after, running on the database of ``ADOPTION_DATABASE_URL``."""

import logging
import os
from collections.abc import AsyncIterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from uuid import uuid4

import pytest
import structlog
from httpx import ASGITransport, AsyncClient

import probes
import schema
from fastapi_asyncdb import create_lifespan

for name in ("DATABASE_URL", "sqlalchemy_url"):
    os.environ[name] = schema.URL  # with the driver, which the others need

# fastapi-sqla and FastSQLA log by it; its tracebacks take seconds.
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

NAMES = ("textbook", "advanced_alchemy", "fastapi_sqla", "fastapi_async_sqlalchemy", "fastsqla")
NEEDS = {"fastsqla": "Python 3.12 or newer", "fastapi_sqla": "Python 3.13 or older"}


def marks(name: str) -> list[pytest.MarkDecorator]:
    """Return what leaves an application out where its library does not install."""
    missing = name in NEEDS and find_spec(name) is None
    return [pytest.mark.skip(reason=f"{name} needs {NEEDS[name]}")] if missing else []


SIDES = [
    pytest.param((name, side), id=f"{name}-{side}", marks=marks(name))
    for name in NAMES
    for side in ("before", "after")
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run all tests on one event loop, to which engines that are made at import belong."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
async def tables(anyio_backend: str) -> AsyncIterator[None]:
    """Both sides find the tables that an application has already."""
    schema.metadata.create_all(schema.engine)
    yield  # noqa: PT022 - the event loop lasts as long as this fixture


@pytest.fixture(scope="session", params=SIDES)
async def application(request: pytest.FixtureRequest, tables: None) -> AsyncIterator[ModuleType]:
    """The module of one side, whose ``app`` runs; before, our lifespan is around its own."""
    name, side = request.param
    module = import_module(f"apps.{name}.{side}")
    probes.add_probes(module)
    lifespan = module.app.router.lifespan_context
    if side == "before":
        lifespan = create_lifespan(lifespan=lifespan)
    async with lifespan(module.app):
        yield module


@pytest.fixture
async def client(application: ModuleType) -> AsyncIterator[AsyncClient]:
    """A client that gets what a server would send."""
    transport = ASGITransport(application.app, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def author(client: AsyncClient) -> int:
    """The id of a new author."""
    return (await client.post("/authors", json={"name": uuid4().hex})).json()["id"]
