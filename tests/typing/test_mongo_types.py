"""What type checkers know of MongoDB; run by pytest only so that it imports."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, assert_type

from bson import ObjectId
from fastapi import Depends
from pydantic import BaseModel
from pymongo import IndexModel

from fastapi_asyncdb import CursorPage, CursorQuery, Page, PageQuery
from fastapi_asyncdb.extras.mongo import (
    Document,
    DocumentId,
    Mongo,
    MongoDatabase,
    MongoReadRepository,
    MongoRepository,
    MongoSession,
    MongoSettings,
    MongoTransaction,
)


class Note(Document):
    __collection__: ClassVar[str] = "typed_notes"
    __indexes__: ClassVar[Sequence[IndexModel]] = [IndexModel("title")]
    title: str


class Count(BaseModel):
    count: int


Notes = Annotated[MongoRepository[Note], Depends()]


class NoteQueries(MongoReadRepository[Note]):
    def __init__(self, session: MongoTransaction) -> None:
        super().__init__(session)


async def verbs(notes: Notes, queries: NoteQueries, key: DocumentId) -> None:
    """Each knows the model."""
    assert_type(await notes.create(title="a"), Note)
    assert_type(await notes.get(key), Note | None)
    assert_type((await notes.get_or_raise(key)).id, ObjectId)
    assert_type(await notes.find_one(title="a"), Note | None)
    assert_type(await notes.list(order_by="-title", limit=3), Sequence[Note])
    assert_type(await notes.page(PageQuery()), Page[Note])
    assert_type(await notes.cursor_page(CursorQuery()), CursorPage[Note])
    assert_type(await notes.create_many([{"title": "a"}]), int)
    assert_type(await notes.update(key, title="b"), Note)
    assert_type(await notes.upsert({"title": "a"}, conflict=["title"]), Note)
    assert_type(await notes.count(raw_filter={"title": {"$gt": ""}}), int)
    assert_type(await notes.exists(), bool)
    assert_type(await notes.search("a"), Sequence[Note])
    assert_type(await queries.aggregate([], Count), Sequence[Count])
    async for note in queries.stream():
        assert_type(note, Note)


async def sessions(mongo: Mongo, transaction: MongoTransaction, database: MongoDatabase) -> None:
    """Both dependencies give a session; work keeps its types."""
    assert_type(mongo, MongoSession)
    assert_type(transaction, MongoSession)

    async def work(session: MongoSession, number: int) -> str:
        return str(number)

    assert_type(await database.run_in_transaction(work, 1), str)
    async with database.transaction() as session:
        assert_type(session, MongoSession)


def test_settings_take_texts() -> None:
    """A type checker accepts what the environment has."""
    assert MongoSettings(url="mongodb://localhost", pool_size=3).pool_size == 3
