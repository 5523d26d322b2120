"""``Repository``: what each verb does, on each database, with each kind of model."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel
from sqlalchemy import MetaData, select, true
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, MultipleResultsFound
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import StaleDataError

from fastapi_asyncdb import CursorQuery, Database, PageQuery, ReadRepository, Repository
from fastapi_asyncdb.dialects import rejection_of
from fastapi_asyncdb.errors import (
    ConfigurationError,
    NotFoundError,
    ReadOnlySession,
    TooManyRows,
)
from fastapi_asyncdb.testing import count_queries
from tests.data.library import (
    TABLES,
    Author,
    AuthorCreate,
    Authors,
    Book,
    BookPatch,
    Books,
    Hero,
    Seat,
    Stamped,
    Tag,
)
from tests.support.databases import MARIADB


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return TABLES


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """A session on a database with the tables."""
    async with database.session() as session:
        yield session


@pytest.fixture
async def author(session: AsyncSession) -> Author:
    """A row to refer to."""
    return await Authors(session).create(name="Ada", email="ada@example.org")


async def test_create_takes_a_pydantic_model_a_mapping_an_object_and_keywords(
    session: AsyncSession,
):
    """Each of them becomes a row with a key, of which the caller gets the object."""
    authors = Authors(session)
    created = [
        await authors.create(AuthorCreate(name="a")),
        await authors.create({"name": "b"}),
        await authors.create(Author(name="c")),
        await authors.create(name="d"),
        await authors.create(AuthorCreate(name="x"), name="e", email="e@example.org"),
    ]
    assert [author.name for author in created] == ["a", "b", "c", "d", "e"]
    assert len({author.id for author in created}) == 5
    assert created[-1].email == "e@example.org"


async def test_create_refuses_what_the_model_does_not_have(session: AsyncSession):
    """A misspelt attribute is an error, not a value that is lost."""
    with pytest.raises(TypeError, match="nme"):
        await Authors(session).create(nme="a")
    with pytest.raises(TypeError, match="'nme' is no attribute of Author"):
        await Authors(session).create(Author(name="a"), nme="b")


async def test_verbs_flush_and_do_not_commit(database: Database):
    """Another session sees nothing before the commit, and nothing at all after a rollback."""
    async with database.session() as session:
        await Authors(session).create(name="a")
        assert await Authors(session).count() == 1
        await session.rollback()
    async with database.read_session() as session:
        assert await Authors(session).count() == 0


async def test_get(session: AsyncSession, author: Author):
    """A key finds its row; another one finds nothing, and raises where a row is required."""
    authors = Authors(session)
    assert await authors.get(author.id) is author
    assert await authors.get(author.id + 1) is None
    assert await authors.get_or_raise(author.id) is author
    with pytest.raises(NotFoundError, match=f"There is no Author with the key {author.id + 1}"):
        await authors.get_or_raise(author.id + 1)


@pytest.mark.parametrize("key", [2**31, -(2**31) - 1, 2**63, 10**30])
async def test_a_key_that_no_row_can_have_is_not_found(session: AsyncSession, key: int):
    """A number that a client has made up is no error of the database, and fails no transaction."""
    authors = Authors(session)
    assert await authors.get(key) is None
    with pytest.raises(NotFoundError):
        await authors.delete(key)
    seats = Repository[Seat](session)
    assert await seats.get(("A", key)) is None
    assert await seats.get({"row": "\0", "number": 1}) is None
    assert (await authors.create(name="after")).id


@pytest.mark.databases("sqlite")
async def test_large_keys_of_sqlite_are_found(session: AsyncSession):
    """Its integers have 64 bits, whatever the type of the column."""
    authors = Authors(session)
    await authors.create(id=2**40, name="far")
    session.expunge_all()
    assert (await authors.get_or_raise(2**40)).name == "far"


async def test_get_with_loader_options(session: AsyncSession, author: Author):
    """Relationships come with the row, without a lazy load."""
    await Books(session).create(title="One", author_id=author.id)
    session.expunge_all()
    found = await Authors(session).get_or_raise(author.id, options=[selectinload(Author.books)])
    assert [book.title for book in found.books] == ["One"]


async def test_composite_key(session: AsyncSession):
    """The key of several columns is a tuple, or a mapping by attribute name."""
    seats = Repository[Seat](session)
    seat = await seats.create(row="A", number=7)
    session.expunge_all()
    assert (await seats.get_or_raise(("A", 7))).number == 7
    assert (await seats.get_or_raise({"number": 7, "row": "A"})).row == "A"
    assert await seats.get(("A", 8)) is None
    assert (await seats.update(("A", 7), taken=True)).taken
    await seats.delete(("A", 7))
    assert await seats.count() == 0
    assert seat.row == "A"


async def test_find_one(session: AsyncSession, author: Author):
    """One row, none, or an error where one was expected and there are several."""
    authors = Authors(session)
    assert await authors.find_one(Author.name == "Ada") is author
    assert await authors.find_one(Author.name == "Bob") is None
    await authors.create(name="Ada")
    with pytest.raises(MultipleResultsFound):
        await authors.find_one(Author.name == "Ada")


async def test_list(session: AsyncSession):
    """Conditions, order, limit and offset."""
    authors = Authors(session)
    await authors.create_many({"name": name} for name in "cab")
    assert [author.name for author in await authors.list(order_by=Author.name)] == ["a", "b", "c"]
    found = await authors.list(order_by=[Author.name.desc(), Author.id], limit=1, offset=1)
    assert [author.name for author in found] == ["b"]
    assert [author.name for author in await authors.list(Author.name > "b")] == ["c"]


async def test_list_is_bounded(session: AsyncSession):
    """A list that would end early is an error, and not a result that looks complete."""

    class Few(Repository[Author]):
        max_rows = 2

    few = Few(session)
    await few.create_many({"name": str(n)} for n in range(2))
    assert len(await few.list()) == 2
    await few.create(name="one too many")
    with pytest.raises(TooManyRows, match="more than the 2 rows"):
        await few.list()
    assert len(await few.list(limit=2)) == 2
    for limit in (3, -1):
        with pytest.raises(ConfigurationError, match=f"limit={limit} is not between 0 and the 2"):
            await few.list(limit=limit)
    assert await few.list(limit=0) == []


async def test_pages(session: AsyncSession):
    """A page by offset, and one by cursor, of the rows that fulfil the conditions."""
    authors = Authors(session)
    await authors.create_many({"name": name} for name in "abcde")
    page = await authors.page(PageQuery(limit=2), Author.name > "a", order_by=Author.name)
    assert [author.name for author in page.items] == ["b", "c"]
    assert (page.total, page.has_more) == (4, True)
    first = await authors.cursor_page(CursorQuery(limit=3), order_by=Author.name.desc())
    second = await authors.cursor_page(
        CursorQuery(cursor=first.next_cursor, limit=3), order_by=Author.name.desc()
    )
    assert [author.name for author in (*first.items, *second.items)] == list("edcba")


async def test_update_tells_unset_from_none(session: AsyncSession, author: Author):
    """What a client has not sent stays, and null is stored."""
    books = Books(session)
    book = await books.create(title="One", note="first", author_id=author.id)
    await books.update(book.id, BookPatch(title="Two"))
    assert (book.title, book.note) == ("Two", "first")
    await books.update(book, BookPatch(note=None))
    assert (book.title, book.note) == ("Two", None)
    await books.update(book, {"note": "third"}, title="Three")
    assert (book.title, book.note) == ("Three", "third")


async def test_update_refuses_what_the_model_does_not_have(session: AsyncSession, author: Author):
    """Also a field of a Pydantic model that is no attribute."""

    class Patch(BaseModel):
        titel: str

    with pytest.raises(TypeError, match="'titel' is no attribute of Author"):
        await Authors(session).update(author, Patch(titel="x"))
    with pytest.raises(TypeError, match="'metadata' is no attribute of Author"):
        await Authors(session).update(author, {"metadata": "x"})
    with pytest.raises(NotFoundError):
        await Authors(session).update(author.id + 1, name="x")


async def test_values_that_the_database_sets_can_be_read_after_an_update(session: AsyncSession):
    """Also with a model that does not fetch them: reading one later would be a MissingGreenlet."""
    tags = Repository[Tag](session)
    tag = await tags.create(name="a")
    before = tag.changed_at
    tag = await tags.update(tag, name="b")
    assert tag.changed_at >= before


async def test_a_version_that_is_not_current_is_refused(session: AsyncSession, author: Author):
    """A client that has read an older version does not overwrite what came since."""
    books = Books(session)
    book = await books.create(title="One", author_id=author.id)
    seen = book.version
    await books.update(book, BookPatch(title="Two", version=seen))
    assert book.version == seen + 1
    with pytest.raises(StaleDataError, match=f"its version is {seen + 1}, not {seen}"):
        await books.update(book, BookPatch(title="Three", version=seen))
    await books.update(book, BookPatch(title="Three", version=None))
    assert book.version == seen + 2


async def test_update_where_and_delete_where(session: AsyncSession, author: Author):
    """One statement, the number of rows, SQL expressions, and no table by accident."""
    authors = Authors(session)
    await authors.create_many({"name": name} for name in "abc")
    assert await authors.update_where(Author.name.in_(["a", "b"]), name=Author.name + "!") == 2
    assert await authors.count(Author.name.endswith("!")) == 2
    assert await authors.delete_where(Author.name == "a!") == 1
    with pytest.raises(ConfigurationError, match="would change every row"):
        await authors.update_where(name="x")
    with pytest.raises(ConfigurationError, match="would change every row"):
        await authors.delete_where()
    assert await authors.delete_where(true()) == 3


async def test_update_where_raises_the_version(session: AsyncSession, author: Author):
    """A session that holds the old version finds out."""
    books = Books(session)
    book = await books.create(title="One", author_id=author.id)
    assert await books.update_where(Book.title == "One", title="Two") == 1
    await session.refresh(book)
    assert (book.title, book.version) == ("Two", 2)


async def test_update_where_changes_the_objects_of_the_session(
    session: AsyncSession, author: Author
):
    """Their values and their version can be read at once, and a flush after it is no conflict."""
    books = Books(session)
    book = await books.create(title="One", author_id=author.id)
    assert await books.update_where(Book.id == book.id, title="Two") == 1
    assert (book.title, book.version) == ("Two", 2)
    assert (await books.update(book, title="Three")).version == 3


async def test_update_where_makes_a_version_that_is_no_number(session: AsyncSession):
    """As a flush would: with the model's own function."""
    stamped = Repository[Stamped](session)
    one = await stamped.create(name="a")
    before = one.stamp
    assert await stamped.update_where(Stamped.id == one.id, name="b") == 1
    await session.refresh(one)
    assert one.stamp != before
    assert len(one.stamp) == 32


async def test_soft_delete(session: AsyncSession, author: Author):
    """A deleted row is gone for each verb, unless the caller includes it, and can come back."""
    books = Books(session)
    book = await books.create(title="One", author_id=author.id)
    await books.delete(book)
    assert await books.get(book.id) is None
    assert await books.find_one(Book.title == "One") is None
    assert await books.list() == []
    assert (await books.count(), await books.exists()) == (0, False)
    assert (await books.page(PageQuery())).items == []
    assert [row async for row in books.stream()] == []
    assert await books.update_where(true(), title="Two") == 0
    assert await books.delete_where(true()) == 0
    with pytest.raises(NotFoundError):
        await books.delete(book.id)
    included: dict[str, Any] = {"execution_options": {"include_deleted": True}}
    assert await books.get(book.id, **included) is book
    assert await books.list(**included) == [book]
    assert await books.restore(book.id) is book
    assert await books.titles() == ["One"]
    assert await books.delete_where(Book.title == "One") == 1
    session.expunge_all()
    assert await books.get(book.id) is None
    assert (await books.restore(book.id)).title == "One"


async def test_restore_needs_the_mixin(session: AsyncSession, author: Author):
    """Without it there is nothing to restore."""
    with pytest.raises(TypeError, match="Author has no SoftDeleteMixin"):
        await Authors(session).restore(author)


async def test_delete(session: AsyncSession, author: Author):
    """Without the mixin the row is deleted."""
    await Authors(session).delete(author.id)
    assert await session.scalar(select(Author.id)) is None


async def test_an_object_that_the_session_does_not_hold_is_refused(
    database: Database, session: AsyncSession, author: Author
):
    """No flush would find its changes, which would be lost without an error."""
    book = await Books(session).create(author_id=author.id, title="a")
    await session.commit()
    async with database.session() as other:
        for stranger in (book, Book(id=book.id, title="b")):
            for verb in (Books(other).update, Books(other).delete, Books(other).restore):
                with pytest.raises(InvalidRequestError, match="not in the session"):
                    await verb(stranger)


async def test_upsert(session: AsyncSession, author: Author):
    """The row that is there is changed, and the object that the session has with it."""
    authors = Authors(session)
    same = await authors.upsert(
        AuthorCreate(name="Lovelace", email="ada@example.org"), conflict=[Author.email]
    )
    assert same is author
    assert author.name == "Lovelace"
    new = await authors.upsert({"name": "b", "email": "b@example.org"}, conflict=["email"])
    assert new.id != author.id
    kept = await authors.upsert(
        {"name": "c", "email": "b@example.org"}, conflict=[Author.email], update=()
    )
    assert (kept.id, kept.name) == (new.id, "b")


async def test_upsert_many(session: AsyncSession, author: Author):
    """What happened to each row is reported on request."""
    outcomes: list[tuple[Any, str]] = []
    done = await Authors(session).upsert_many(
        [{"name": "x", "email": "ada@example.org"}, {"name": "y", "email": "y@example.org"}],
        conflict=[Author.email],
        report=lambda row, outcome: outcomes.append((row["name"], outcome)),
    )
    assert done == 2
    assert outcomes == [("x", "updated"), ("y", "created")]
    await session.refresh(author)
    assert author.name == "x"


async def test_stream(session: AsyncSession):
    """All rows, in order; a loop that is left early closes the cursor."""
    authors = Authors(session)
    await authors.create_many({"name": f"{n:03}"} for n in range(300))
    names = [author.name async for author in authors.stream(order_by=Author.name, batch_size=50)]
    assert names == [f"{n:03}" for n in range(300)]
    async with aclosing(authors.stream(batch_size=10)) as rows:
        async for _ in rows:
            break
    assert await authors.count() == 300


async def test_conditions_of_a_repository_hold_for_each_verb(session: AsyncSession, author: Author):
    """The rows of others do not exist: not by key, not by condition, not for a change."""

    class Own(Repository[Author]):
        def conditions(self):
            return [Author.name == "Ada"]

    other = await Authors(session).create(name="Bob")
    own = Own(session)
    assert await own.get(author.id) is author
    assert await own.get(other.id) is None
    assert await own.list() == [author]
    assert await own.count() == 1
    assert not await own.exists(Author.name == "Bob")
    assert (await own.page(PageQuery())).total == 1
    assert await own.update_where(true(), email="x") == 1
    for change in (own.update(other.id, name="x"), own.delete(other.id)):
        with pytest.raises(NotFoundError):
            await change
    # MySQL cannot restrict what an upsert updates, so there it is refused.
    refusal = ConfigurationError if has_mysql(session) else NotFoundError
    with pytest.raises(refusal):
        await own.upsert({"id": other.id, "name": "taken"}, conflict=["id"])
    with pytest.raises(refusal):  # nor is it returned
        await own.upsert({"id": other.id, "name": "taken"}, conflict=["id"], update=[])
    assert await own.delete_where(true()) == 1
    assert await Authors(session).list() == [other]
    assert other.name == "Bob"


def has_mysql(session: AsyncSession) -> bool:
    """Return whether the database is MySQL or MariaDB."""
    return session.get_bind().dialect.name == "mysql"


@pytest.mark.parametrize("count", [3, 700])
async def test_upserts_of_many_rows_leave_those_of_others(session: AsyncSession, count: int):
    """They are skipped, through a temporary table and without one, with a report and without."""

    class Own(Repository[Author]):
        def conditions(self):
            return [Author.email == "own"]

    emails = {1: "own", 2: "other"}
    await Authors(session).create_many(
        {"id": key, "name": "old", "email": email} for key, email in emails.items()
    )
    outcomes: list[str] = []
    if has_mysql(session):
        with pytest.raises(ConfigurationError, match="conditions"):
            await Own(session).upsert_many([{"id": 1, "name": "new"}], conflict=["id"])
        return
    for name, report in (("new", None), ("newer", lambda _, outcome: outcomes.append(outcome))):
        rows = [{"id": key, "name": name} for key in range(1, count + 1)]
        await Own(session).upsert_many(rows, conflict=["id"], report=report)
        first = await session.scalars(select(Author.name).order_by(Author.id).limit(3))
        assert first.all() == [name, "old", "new"]
    # Those that the first call has inserted belong to others too: nothing gave them the email.
    assert outcomes == ["updated", *["skipped"] * (count - 1)]


async def test_conditions_with_a_composite_key(session: AsyncSession):
    """A key of several columns is looked up with the conditions too."""

    class Free(Repository[Seat]):
        def conditions(self):
            return [Seat.taken.is_(False)]

    await Repository[Seat](session).create_many(
        [{"row": "A", "number": 1}, {"row": "A", "number": 2, "taken": True}]
    )
    free = Free(session)
    assert await free.get(("A", 1)) is not None
    assert await free.get({"row": "A", "number": 2}) is None


async def test_sqlmodel(session: AsyncSession):
    """A SQLModel is a mapped class and a Pydantic model, and both ways in lead to a row."""
    heroes = Repository[Hero](session)
    hero = await heroes.create(Hero(name="a"))
    await heroes.create({"name": "b", "age": 3})
    await heroes.create_many([Hero(name="c"), {"name": "d"}])
    assert hero.id is not None
    assert await heroes.get(hero.id) is hero
    assert (await heroes.update(hero.id, age=7)).age == 7
    page = await heroes.page(PageQuery(limit=1), order_by=Hero.age.desc())  # type: ignore[union-attr]
    assert page.total == 4
    assert await heroes.count(Hero.age.is_(None)) == 2  # type: ignore[union-attr]


async def test_reading_session(database: Database):
    """Over ReadDB each read is one statement; writes are refused."""
    async with database.session() as session:
        author = await Authors(session).create(name="Ada")
    async with database.read_session() as session:
        readers, writers = ReadRepository[Author](session), Authors(session)
        with count_queries(database) as queries:
            assert (await readers.get_or_raise(author.id)).name == "Ada"
            assert len(await readers.list()) == 1
        assert queries.count == 2
        assert not hasattr(readers, "create")
        with pytest.raises(ReadOnlySession):
            await writers.update_where(true(), name="x")


async def test_plain_session(database: Database):
    """Any AsyncSession will do: the library is not needed around it."""
    engine = create_async_engine(database.engine.url)
    try:
        async with AsyncSession(engine) as session, session.begin():
            authors = Authors(session)
            key = (await authors.create(name="Ada", email="a")).id
            await authors.update(key, name="Lovelace")
            assert await authors.create_many({"name": str(n)} for n in range(1500)) == 1500
            await authors.upsert({"name": "x", "email": "a"}, conflict=["email"])
        async with AsyncSession(engine) as session:
            assert await Authors(session).count() == 1501
            assert (await Authors(session).get_or_raise(key)).name == "x"
    finally:
        await engine.dispose()


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg", *MARIADB)
async def test_locks(database: Database):
    """for_update, skip_locked and nowait reach the server."""
    async with database.session() as session:
        await Authors(session).create_many([{"name": "a"}, {"name": "b"}])
    async with database.session() as first, database.session() as second:
        # InnoDB locks each row that it reads: without an index on the order that would be all of them.
        locked = await Authors(first).list(order_by=Author.id, limit=1, for_update=True)
        free = await Authors(second).list(order_by=Author.id, limit=1, skip_locked=True)
        assert [row.name for row in (*locked, *free)] == ["a", "b"]
        with pytest.raises(DBAPIError) as caught:
            async with second.begin_nested():
                await Authors(second).get(locked[0].id, nowait=True)
        rejection = rejection_of(caught.value)
        assert rejection is not None
        assert rejection.kind == "lock timeout"


async def test_constraints_reach_the_caller(session: AsyncSession, author: Author):
    """The database's own error, at the verb and not at the commit."""
    with pytest.raises(IntegrityError):
        async with session.begin_nested():
            await Authors(session).create(name="b", email=author.email)


async def test_lazy_loads_are_refused_after_a_verb(session: AsyncSession, author: Author):
    """A relationship that was not loaded says so."""
    book = await Books(session).create(title="One", author_id=author.id)
    session.expunge_all()
    book = await Books(session).get_or_raise(book.id)
    with pytest.raises(InvalidRequestError, match="author"):
        _ = book.author


def test_a_repository_has_a_model():
    """Without one, or with a class that is not mapped, the error says what to write."""
    for repository in (Repository, Repository[BookPatch], ReadRepository[Any]):
        with pytest.raises(ConfigurationError, match=r"has no model. Write a mapped class"):
            repository(None)  # type: ignore[arg-type]
    assert Repository[Author] is Repository[Author]
    assert Repository[Author].__name__ == "Repository[Author]"
    assert repr(Books(None)) == "<Books of Book>"  # type: ignore[arg-type]


M = TypeVar("M")


class Counted(Repository[M], Generic[M]):
    """A repository for any model, with a method of its own."""

    async def is_empty(self) -> bool:
        """Return whether there are no rows."""
        return not await self.exists()


async def test_a_generic_repository_of_ones_own(session: AsyncSession, author: Author):
    """A class may leave the model open, and have it in brackets later."""
    assert await Counted[Book](session).is_empty()
    assert not await Counted[Author](session).is_empty()
