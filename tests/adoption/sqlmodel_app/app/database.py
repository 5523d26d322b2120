"""The database: where it is, and its sessions as dependencies."""

from typing import Annotated

from fastapi import Depends
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from fastapi_asyncdb import Database

database = Database(session_class=AsyncSession, metadata=SQLModel.metadata)  # DATABASE_URL

SessionDep = Annotated[AsyncSession, Depends(database.get_db)]
ReadSessionDep = Annotated[AsyncSession, Depends(database.get_read_db)]
