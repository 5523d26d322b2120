from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database

database = Database()  # DATABASE_URL
app = FastAPI(lifespan=database.lifespan)


@app.get("/")
async def endpoint(
    db: Annotated[AsyncSession, Depends(database.get_db)],
    reader: Annotated[AsyncSession, Depends(database.get_read_db)],
    snapshot: Annotated[AsyncSession, Depends(database.get_snapshot_db)],
) -> None:
    await db.execute(text("SELECT 'DB'"))
    await reader.execute(text("SELECT 'ReadDB'"))
    await snapshot.execute(text("SELECT 'SnapshotDB'"))


@app.get("/panel")
async def panel() -> None:
    async with database.sessionmaker() as session:
        await session.execute(text("SELECT 'sessionmaker'"))
    async with database.engine.connect() as connection:
        await connection.execute(text("SELECT 'engine'"))
