"""``default_mongo``, which ``MONGO_*`` configures, the dependencies made from it, and lifespans."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends
from pydantic import BaseModel

from fastapi_asyncdb.extras.mongo.database import MongoDatabase
from fastapi_asyncdb.extras.mongo.dependencies import MongoDependency
from fastapi_asyncdb.extras.mongo.session import MongoSession
from fastapi_asyncdb.extras.mongo.settings import MongoSettings

default_mongo: MongoDatabase = MongoDatabase()

mongo_lifespan: Callable[..., AbstractAsyncContextManager[None]] = default_mongo.lifespan
get_mongo: MongoDependency = default_mongo.get_mongo
get_mongo_transaction: MongoDependency = default_mongo.get_mongo_transaction

Mongo = Annotated[MongoSession, Depends(get_mongo)]
MongoTransaction = Annotated[MongoSession, Depends(get_mongo_transaction)]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def create_mongo_lifespan(
    settings: MongoSettings | None = None,
    *,
    models: Sequence[type[BaseModel]] | None = None,
    require_connection: bool = True,
    lifespan: Lifespan | None = None,
) -> Lifespan:
    """Make a lifespan of ``default_mongo``: ``FastAPI(lifespan=create_mongo_lifespan(models=[Note]))``.

    Args:
        settings: ``None`` reads ``MONGO_*`` at start.
        models: The models whose indexes the start creates, instead of ``default_mongo.models``.
        require_connection: ``False`` lets the application start while MongoDB is down.
        lifespan: Another lifespan, such as ``db_lifespan``. It runs inside: it may use MongoDB.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[Any]:
        if models is not None:
            default_mongo.models = models
        await default_mongo.start(settings, require_connection=require_connection)
        try:
            if lifespan is None:
                yield
            else:
                async with lifespan(app) as state:
                    yield state
        finally:
            await default_mongo.stop()

    return run
