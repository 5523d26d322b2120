"""The list of contenders, and how each application is created. Starts none of them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from fastapi import FastAPI


@dataclass(frozen=True)
class Pool:
    """The limits of a pool; the defaults are those of SQLAlchemy and of every contender."""

    size: int = 5
    overflow: int = 10
    timeout: float = 30.0
    """Seconds that a request waits for a connection."""
    max_waiting: int | None = None
    """Refuse at once when so many requests wait; only this library has it."""


@dataclass(frozen=True)
class Contender:
    """An application that takes part."""

    name: str
    factory: str
    """``module:function`` in this package."""
    packages: tuple[str, ...] = ()
    """What it is made of, besides FastAPI, SQLAlchemy and asyncpg."""
    variant: bool = False
    """Whether it explains another contender, and takes part in the short measures only."""

    def create_app(self, url: str, pool: Pool) -> FastAPI:
        """Return the application.

        Raises:
            ImportError: a package of it is not installed.
        """
        module, _, function = self.factory.partition(":")
        app: FastAPI = getattr(import_module(f"benchmarks.contenders.{module}"), function)(
            url, pool
        )
        return app

    def versions(self) -> dict[str, str]:
        """Return the version of each of its packages.

        Raises:
            PackageNotFoundError: it is not installed.
        """
        return {package: version(package) for package in self.packages}


TEXTBOOK = Contender("textbook", "textbook:create_app")
OURS = Contender("fastapi_asyncdb", "asyncdb:create_app", ("fastapi-asyncdb",))
RAW = Contender("raw asyncpg", "raw_asyncpg:create_app")
CONTENDERS = (
    TEXTBOOK,
    Contender("advanced-alchemy", "alchemy:create_app", ("advanced-alchemy",)),
    Contender("fastapi-sqla", "sqla:create_app", ("fastapi-sqla",)),
    Contender(
        "fastapi-async-sqlalchemy", "async_sqlalchemy:create_app", ("fastapi-async-sqlalchemy",)
    ),
    Contender("FastSQLA", "fast_sqla:create_app", ("FastSQLA",)),
    OURS,
    Contender("fastapi_asyncdb, DB for reads", "asyncdb:create_app_without_read_db"),
    Contender("textbook, no ping", "textbook:create_app_without_ping", variant=True),
    Contender("leanest get_db", "lean:create_leanest", variant=True),
    Contender("three layers", "lean:create_three_layers", variant=True),
    RAW,
)
