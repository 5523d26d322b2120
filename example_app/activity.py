"""What has happened, recorded in MongoDB if ``MONGO_URL`` is set. Without it PyMongo is not imported."""

import os

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import on_commit


def is_recorded() -> bool:
    """Return whether there is an activity log."""
    return bool(os.environ.get("MONGO_URL"))


def record(session: AsyncSession, action: str, text: str) -> None:
    """Record what the request has done, once it is committed. A record that fails is logged.

    Args:
        session: The request's; what it rolls back is not recorded.
        action: Such as ``user created``.
        text: What to search for later.
    """
    if is_recorded():
        from example_app.activity_log import write

        on_commit(session, write, action, text)
