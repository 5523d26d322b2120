"""The activity log: documents in MongoDB, with a text index, which are forgotten after 90 days."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar

from fastapi import Depends
from pydantic import BaseModel, Field
from pymongo import TEXT, IndexModel

from fastapi_asyncdb.extras.mongo import (
    Document,
    MongoReadRepository,
    MongoRepository,
    create_mongo_lifespan,
    default_mongo,
)

KEPT = timedelta(days=90)


def now() -> datetime:
    """Return the time, aware."""
    return datetime.now(UTC)


class Activity(Document):
    """One thing that has happened."""

    __collection__: ClassVar[str] = "activities"
    __indexes__: ClassVar[Sequence[IndexModel]] = [
        IndexModel([("text", TEXT)]),
        IndexModel([("action", 1), ("_id", -1)]),
        IndexModel("at", expireAfterSeconds=int(KEPT.total_seconds())),
    ]

    action: str
    text: str
    at: datetime = Field(default_factory=now)


class ActionCount(BaseModel):
    """How often something has happened, and when last."""

    action: str
    count: int
    last: datetime


class ActivityQueries(MongoReadRepository[Activity]):
    """Queries of the log."""

    async def counts(self) -> Sequence[ActionCount]:
        """Return the number of each action, the most frequent first."""
        grouped = {"_id": "$action", "count": {"$sum": 1}, "last": {"$max": "$at"}}
        shown = {"_id": 0, "action": "$_id", "count": 1, "last": 1}
        return await self.aggregate(
            [{"$group": grouped}, {"$project": shown}, {"$sort": {"count": -1, "action": 1}}],
            ActionCount,
        )


Activities = Annotated[ActivityQueries, Depends()]

# The application starts and serves without MongoDB: what it cannot record is in its log.
lifespan = create_mongo_lifespan(models=[Activity], require_connection=False)


async def write(action: str, text: str) -> None:
    """Store one record."""
    async with default_mongo.session() as mongo:
        await MongoRepository[Activity](mongo).create(action=action, text=text)
