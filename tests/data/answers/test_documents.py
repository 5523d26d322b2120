"""Columns of JSON, whose text the database passes on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import JSON, MetaData, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, answer

DOCUMENTS = [{"a": [1, 2.5, None], "b": {"text": 'says "hi"\n'}}, [], "word", 1e300, None]


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "documents_paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[Any] = mapped_column(JSON)


class PaperOut(BaseModel):
    content: Any


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


async def test_documents_are_passed_on(database: Database):
    """Whatever they are; also where PostgreSQL looks for numbers that Python reads as infinite."""
    papers = [{"id": n, "content": each} for n, each in enumerate(DOCUMENTS)]
    async with database.session() as session:
        await session.execute(insert(Paper), papers)
        response = await answer(session, select(Paper).order_by(Paper.id), list[PaperOut])
    assert json.loads(bytes(response.body)) == [{"content": each} for each in DOCUMENTS]
