from typing import Annotated

from fastapi import Depends
from sqlmodel.ext.asyncio.session import AsyncSession

from after.core.db import database

SessionDep = Annotated[AsyncSession, Depends(database.get_db)]
ReadSessionDep = Annotated[AsyncSession, Depends(database.get_read_db)]
