"""MongoDB: settings, lifespan, sessions, repositories. ``pip install 'fastapi-asyncdb[mongo]'``."""

from fastapi_asyncdb.errors import MissingExtra

try:
    from fastapi_asyncdb.extras.mongo.database import MongoDatabase
    from fastapi_asyncdb.extras.mongo.default import (
        Mongo,
        MongoTransaction,
        create_mongo_lifespan,
        default_mongo,
        get_mongo,
        get_mongo_transaction,
        mongo_lifespan,
    )
    from fastapi_asyncdb.extras.mongo.documents import Document
    from fastapi_asyncdb.extras.mongo.indexes import ensure_indexes
    from fastapi_asyncdb.extras.mongo.object_id import DocumentId
    from fastapi_asyncdb.extras.mongo.override import mongo_override
    from fastapi_asyncdb.extras.mongo.reading import MongoReadRepository
    from fastapi_asyncdb.extras.mongo.repository import MongoRepository
    from fastapi_asyncdb.extras.mongo.session import MongoSession
    from fastapi_asyncdb.extras.mongo.settings import MongoSettings
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("pymongo", "bson"):
        raise
    raise MissingExtra(
        "fastapi_asyncdb.extras.mongo needs PyMongo, which is not installed. Run: "
        'pip install "fastapi-asyncdb[mongo]"'
    ) from error

__all__ = [
    "Document",
    "DocumentId",
    "Mongo",
    "MongoDatabase",
    "MongoReadRepository",
    "MongoRepository",
    "MongoSession",
    "MongoSettings",
    "MongoTransaction",
    "create_mongo_lifespan",
    "default_mongo",
    "ensure_indexes",
    "get_mongo",
    "get_mongo_transaction",
    "mongo_lifespan",
    "mongo_override",
]
