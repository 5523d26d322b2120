"""The activity log: the newest, by text, and counted. Only with ``MONGO_URL``."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from example_app.activity_log import ActionCount, Activities, Activity, lifespan
from example_app.repositories import ByCursor
from fastapi_asyncdb import CursorPage

router = APIRouter(prefix="/activities", tags=["activities"], lifespan=lifespan)


@router.get("")
async def list_activities(query: ByCursor, activities: Activities) -> CursorPage[Activity]:
    """Walk through the log, the newest first."""
    return await activities.cursor_page(query, order_by="-id")


@router.get("/search")
async def search_activities(
    activities: Activities, text: Annotated[str, Query(min_length=1, max_length=100)]
) -> Sequence[Activity]:
    """Find what matches a text best."""
    return await activities.search(text)


@router.get("/counts")
async def count_activities(activities: Activities) -> Sequence[ActionCount]:
    """Count the actions."""
    return await activities.counts()
