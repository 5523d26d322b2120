"""``mongo_override``: a session of the test in place of the requests' sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from fastapi.requests import HTTPConnection

from fastapi_asyncdb.dependencies import overridden
from fastapi_asyncdb.extras.mongo.database import MongoDatabase
from fastapi_asyncdb.extras.mongo.default import default_mongo
from fastapi_asyncdb.extras.mongo.dependencies import raise_answer
from fastapi_asyncdb.extras.mongo.session import MongoSession


@contextmanager
def mongo_override(
    app: FastAPI, session: MongoSession, *, mongo: MongoDatabase = default_mongo
) -> Iterator[None]:
    """Use this session in every request, whether it declares ``Mongo`` or ``MongoTransaction``.

    The caller ends the session: no request commits or rolls back. The earlier overrides are restored.

    Args:
        app: The application that the client talks to.
        session: For the handlers; one of ``mongo.transaction()`` is rolled back if its block raises.
        mongo: Its ``get_mongo`` and ``get_mongo_transaction`` are overridden.
    """

    async def get_session(connection: HTTPConnection) -> AsyncIterator[MongoSession]:
        try:
            yield session
        except Exception as error:
            raise_answer(error, connection)

    with overridden(app, (mongo.get_mongo, mongo.get_mongo_transaction), get_session):
        yield
