"""Fields that are not what they look like: each was once answered otherwise than by FastAPI."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, PlainSerializer, field_serializer
from sqlalchemy import MetaData, insert, select

from fastapi_asyncdb import Database
from tests.data.answers.fastapi_answer import assert_equal
from tests.data.answers.museum.models import Base, Tag


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


def length(value: str | None) -> int:
    """Return something else than the value."""
    return len(value or "")


class OfOptional(BaseModel):
    name: Annotated[str | None, PlainSerializer(length)]


class OfDefault(BaseModel):
    name: str = "none"

    @field_serializer("name")
    def write(self, value: str) -> int:
        return length(value)


class OfOptionalDefault(BaseModel):
    name: str | None = None

    @field_serializer("name", mode="wrap")
    def write(self, value: str | None, handler: Any) -> list[Any]:
        return [handler(value)]


@pytest.mark.parametrize("schema", [OfOptional, OfDefault, OfOptionalDefault])
async def test_serializers_write_fields_that_are_optional(
    database: Database, schema: type[BaseModel]
):
    """Pydantic has them around the type, and not in it."""
    async with database.session() as session:
        await session.execute(insert(Tag), [{"id": 1, "name": "word"}])
        await assert_equal(session, select(Tag), schema)
