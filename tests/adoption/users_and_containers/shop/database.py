from typing import Annotated

from fastapi import Depends
from fastapi_users_db_sqlalchemy import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Base, Database

database = Database()  # DATABASE_URL
DB = Annotated[AsyncSession, Depends(database.get_db)]


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


async def get_user_db(db: DB) -> SQLAlchemyUserDatabase:
    return SQLAlchemyUserDatabase(db, User)
