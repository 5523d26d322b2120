"""``default_database``, which ``DATABASE_*`` configures, and the dependencies made from it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.dependencies import SessionDependency

default_database: Database = Database()

db_lifespan: Callable[..., AbstractAsyncContextManager[None]] = default_database.lifespan
get_db: SessionDependency[AsyncSession] = default_database.get_db
get_read_db: SessionDependency[AsyncSession] = default_database.get_read_db
get_snapshot_db: SessionDependency[AsyncSession] = default_database.get_snapshot_db

DB = Annotated[AsyncSession, Depends(get_db)]
ReadDB = Annotated[AsyncSession, Depends(get_read_db)]
SnapshotDB = Annotated[AsyncSession, Depends(get_snapshot_db)]
