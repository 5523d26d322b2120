"""Tables of a test's own, in an empty database."""

from typing import Any

from sqlalchemy import MetaData

from fastapi_asyncdb import Database


async def create(database: Database[Any], metadata: MetaData) -> None:
    """Create the tables."""
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
