"""What type checkers know of answers; run by pytest only so that it imports."""

from dataclasses import dataclass
from typing import Annotated, Any, assert_type

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.responses import Response, StreamingResponse
from typing_extensions import TypedDict

from fastapi_asyncdb import (
    DB,
    Answer,
    CursorPage,
    CursorQuery,
    Database,
    Page,
    PageQuery,
    ReadDB,
    Related,
    answer,
    rows,
)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "typed_answer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Friend(BaseModel):
    name: str


class UserOut(BaseModel):
    id: int
    friends: Annotated[
        list[Friend],
        Related(where=lambda user: user.id > 1, order_by=lambda user: [user.name], limit=3),
    ]


@dataclass
class UserValue:
    id: int


class UserDict(TypedDict):
    id: int


router = APIRouter()


@router.get("/users")
async def users(db: ReadDB, request: Request) -> Answer[list[UserOut]]:
    """A route that names its response."""
    return await answer(db, select(User).order_by(User.name), list[UserOut], request=request)


@router.post("/users", status_code=201)
async def create(db: DB) -> Answer[UserOut]:
    """One row that was written."""
    return await answer(db, insert(User).values(name="a"), UserOut, status_code=201)


async def answers(db: AsyncSession) -> None:
    """An answer has the schema as its parameter, and is a response."""
    query = select(User)
    one = await answer(db, query, UserOut, headers={"X-Number": "1"})
    assert_type(one, Answer[UserOut])
    response: Response = one
    assert_type(response.status_code, int)
    assert_type(await answer(db, query, list[UserOut]), Answer[list[UserOut]])
    page = await answer(db, query, Page[UserOut], page=PageQuery(), total=None)
    assert_type(page, Answer[Page[UserOut]])
    step = await answer(db, query, CursorPage[UserOut], page=CursorQuery(), secret="s" * 16)
    assert_type(step, Answer[CursorPage[UserOut]])
    optional: Answer[UserOut | None] = await answer(db, query, UserOut | None)
    assert_type(optional, Answer[UserOut | None])
    await answer(db, query, UserOut, total="guessed")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await answer(db, query, UserOut, page=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    # Mypy takes the overload for other types, and so sees an Answer[Any].
    wrong: Answer[UserOut] = await answer(db, query, Friend)  # pyright: ignore[reportAssignmentType, reportArgumentType]
    assert_type(wrong, Answer[UserOut])


async def values(db: AsyncSession) -> None:
    """Values are of the schema, whichever kind it is."""
    found = await rows(db, select(User), UserOut)
    assert_type(found, list[UserOut])
    assert_type(found[0].friends[0].name, str)
    assert_type(await rows(db, select(User), UserValue), list[UserValue])
    assert_type(await rows(db, select(User), UserDict), list[UserDict])
    assert_type(await rows(db, select(User.id), int), list[int])


async def streams(db: AsyncSession, database: Database) -> None:
    """A stream is a response; an explanation a text."""
    response = await answer.stream(db, select(User), UserOut, format="json", batch_size=100)
    assert_type(response, StreamingResponse)
    await answer.stream(db, select(User), UserOut, format="csv")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(answer.explain(UserOut, User), str)
    assert_type(answer.explain(list[UserOut], User, database=database), str)


def related() -> Any:
    """Names and types of what a field says of a relationship."""
    assert_type(Related(limit=1).limit, int | None)
    Related(limit="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Related(3)  # type: ignore[call-arg, arg-type]  # pyright: ignore[reportCallIssue]
    return Related(where=lambda user: (user.id == 1, user.name == "a"))


def test_types() -> None:
    """The rest of this file is for type checkers."""
