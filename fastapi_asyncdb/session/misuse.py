"""Objects that are mistaken for a session: their errors say what to write instead."""

from __future__ import annotations

from typing import Any, NoReturn

from fastapi_asyncdb.errors import NotASession


class Misused:
    """Refuse each way in which a session, or a generator of sessions, is used.

    Private names stay plain ``AttributeError``: debuggers, copies and ``hasattr`` ask for them.
    """

    _fact = ""
    """The subject of the message."""
    _advice = ""
    """The likely cause and the next step."""

    def _refuse(self, way: str) -> NoReturn:
        raise NotASession(f"{self._fact} {way}. {self._advice}")

    def __await__(self) -> Any:
        self._refuse("was awaited")

    def __aiter__(self) -> Any:
        self._refuse("was iterated")

    def __anext__(self) -> Any:
        self._refuse("was iterated")

    def __iter__(self) -> Any:
        self._refuse("was iterated")

    def __next__(self) -> Any:
        self._refuse("was iterated")

    def __enter__(self) -> Any:
        self._refuse("was entered by 'with'")

    def __exit__(self, *exception: object) -> None:
        """Do nothing: entering has raised."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._refuse(f"was asked for {name!r}")


class UncalledDependency(Misused):
    """The result of a dependency that is not called by FastAPI."""

    _fact = "The result of get_db()"
    _advice = (
        "It is a dependency: FastAPI calls it, and passes the request's session. In a route or another "
        "dependency, declare 'db: DB' or 'Depends(get_db)'. Anywhere else, open a session: 'async with "
        "database.session() as session:' (default_database is the Database behind get_db). It takes the "
        "place of asynccontextmanager(get_db) as well."
    )

    async def __aenter__(self) -> Any:
        self._refuse("was entered by 'async with'")

    async def __aexit__(self, *exception: object) -> None:
        """Do nothing: entering has raised."""
