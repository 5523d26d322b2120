"""Pages by offset and by cursor."""

import base64
from typing import Any

import pytest

from fastapi_asyncdb import CursorPage, CursorQuery, Page, PageQuery
from fastapi_asyncdb.errors import ConfigurationError, InvalidCursor
from fastapi_asyncdb.extras.mongo import MongoDatabase, MongoRepository
from tests.extras.mongo.library import Author, Book


@pytest.fixture
async def books(mongo: MongoDatabase):
    """Ten books; each year twice, and twice none."""
    async with mongo.session() as session:
        books = MongoRepository[Book](session)
        await books.create_many({"title": str(n), "year": n // 2 or None} for n in range(10))
        yield books


@pytest.mark.parametrize("total", ["exact", "estimated", None])
async def test_page_by_offset(books: MongoRepository[Book], total: Any):
    """In a unique order, with the total."""
    first = await books.page(PageQuery(0, 4), order_by="year", total=total)
    second = await books.page(PageQuery(4, 4), order_by="year", total=total)
    last = await books.page(PageQuery(8, 4), order_by="year", total=total)
    assert [page.has_more for page in (first, second, last)] == [True, True, False]
    assert first.total == (None if total is None else 10)
    titles = [book.title for page in (first, second, last) for book in page.items]
    assert titles == [str(n) for n in range(10)]
    some = await books.page(PageQuery(0, 4), year=1, total=total)
    assert (len(some.items), some.total) == (2, None if total is None else 2)
    assert type(first.to(Book)) is Page[Book]


@pytest.mark.parametrize(
    "order_by", [(), "year", "-year", ("-year", "title"), ("year", "-title")], ids=str
)
async def test_walk_by_cursor(books: MongoRepository[Book], order_by: Any):
    """Each document once, in both directions, with missing values first as MongoDB sorts them."""
    expected = [book.id for book in await books.list(order_by=order_by or "id")]
    if order_by in ("year", "-year"):  # the key decides among equals
        expected = [
            b.id for b in await books.list(order_by=(order_by, order_by.replace("year", "id")))
        ]
    pages: list[CursorPage[Book]] = [
        await books.cursor_page(CursorQuery(None, 3), order_by=order_by)
    ]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(await books.cursor_page(CursorQuery(cursor, 3), order_by=order_by))
    assert [book.id for page in pages for book in page.items] == expected
    assert pages[0].previous_cursor is None
    back = [pages[-1]]
    while (cursor := back[-1].previous_cursor) is not None:
        back.append(await books.cursor_page(CursorQuery(cursor, 3), order_by=order_by))
    assert [book.id for page in reversed(back) for book in page.items] == expected


async def test_cursor_belongs_to_one_query(books: MongoRepository[Book]):
    """Another ordering, another collection, another secret: 422."""
    page = await books.cursor_page(CursorQuery(None, 3), order_by="year", secret="a")
    assert page.next_cursor is not None
    query = CursorQuery(page.next_cursor, 3)
    assert len((await books.cursor_page(query, order_by="year", secret="a")).items) == 3
    authors = MongoRepository[Author](books.session)
    for work in (
        books.cursor_page(query, order_by="title", secret="a"),
        books.cursor_page(query, order_by="year", secret="b"),
        books.cursor_page(query, order_by="year"),
        authors.cursor_page(query, secret="a"),
        books.cursor_page(CursorQuery("nonsense", 3), order_by="year"),
        books.cursor_page(CursorQuery("", 3), order_by="year"),
    ):
        with pytest.raises(InvalidCursor):
            await work


@pytest.mark.parametrize(
    "value",
    [
        '{"$regularExpression": {"pattern": ".*", "options": ""}}',
        '{"$code": "f()"}',
        '{"$gt": ""}',
        "[1]",
    ],
)
async def test_cursor_carries_no_expression(books: MongoRepository[Book], value: str):
    """A client can compute the checksum of a cursor without a secret."""
    from fastapi_asyncdb.extras.mongo.cursors import MongoCursors

    cursors = MongoCursors("books", [("_id", 1)], None)
    forged = cursors._text.write(f"[0, {value}]".encode())
    with pytest.raises(InvalidCursor):
        await books.cursor_page(CursorQuery(forged, 3))
    assert base64.urlsafe_b64decode(forged + "==")


async def test_cursor_of_a_list_is_refused(books: MongoRepository[Book]):
    """It cannot be compared."""
    with pytest.raises(ConfigurationError, match="Order by another attribute"):
        await books.cursor_page(CursorQuery(None, 3), order_by="details")
