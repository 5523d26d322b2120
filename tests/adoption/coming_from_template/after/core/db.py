from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from after.core.config import settings
from fastapi_asyncdb import Database, DatabaseSettings
from models import Shelf

database = Database(
    DatabaseSettings(url=settings.SQLALCHEMY_DATABASE_URI), session_class=AsyncSession
)


async def init_db(session: AsyncSession) -> None:
    statement = select(Shelf).where(Shelf.name == settings.FIRST_SHELF)
    if (await session.exec(statement)).first() is None:
        session.add(Shelf(name=settings.FIRST_SHELF))
