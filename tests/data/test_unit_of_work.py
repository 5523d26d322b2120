"""``UnitOfWork``: repositories over one session, which is one transaction."""

import pytest
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from fastapi_asyncdb import Database, Repository, UnitOfWork
from tests.data.library import TABLES, Author, Authors, Book, Books


class Library(UnitOfWork):
    """Two repositories, and a method over both."""

    authors: Repository[Author]
    books: Books
    shelf: str

    async def publish(self, name: str, title: str) -> Book:
        """Write to both tables."""
        author = await self.authors.create(name=name)
        return await self.books.create(title=title, author_id=author.id)


class Branch(Library):
    """A unit of work that extends another."""

    more: Repository[Author]


async def names(database: Database) -> list[str]:
    """Return what is stored, read by another session."""
    async with database.read_session() as session:
        return [author.name for author in await Authors(session).list(order_by=Author.id)]


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return TABLES


async def test_repositories_share_the_session(database: Database):
    """Each is made once, when it is first used; what is no repository is no attribute."""
    async with database.session() as session:
        library = Branch(session)
        assert library.authors is library.authors
        assert isinstance(library.books, Books)
        assert {library.authors.session, library.books.session, library.more.session} == {session}
        with pytest.raises(AttributeError, match="'Branch' object has no attribute 'shelf'"):
            _ = library.shelf


async def test_begin_commits_both_or_none(database: Database):
    """The block is a transaction over a session of its own."""
    async with Library.begin(database) as library:
        await library.publish("Ada", "Notes")
    with pytest.raises(RuntimeError, match="no"):
        async with Library.begin(database, isolation_level="SERIALIZABLE") as library:
            await library.publish("Bob", "Lost")
            raise RuntimeError("no")
    assert await names(database) == ["Ada"]


async def test_a_session_of_ones_own(database: Database):
    """The block commits a session that was passed, or rolls it back; the session goes on."""
    async with database.session() as session:
        async with Library(session) as library:
            await library.publish("Ada", "Notes")
        assert await names(database) == ["Ada"]
        with pytest.raises(RuntimeError, match="no"):
            async with Library(session) as library:
                await library.publish("Bob", "Lost")
                raise RuntimeError("no")
        await Authors(session).create(name="Eve")
    assert await names(database) == ["Ada", "Eve"]


async def test_a_plain_session(database: Database):
    """SQLAlchemy's own sessions and their maker work as well; a failed commit is rolled back."""
    maker = async_sessionmaker(database.engine)
    async with Library.begin(maker) as library:
        await library.publish("Ada", "Notes")
    async with AsyncSession(database.engine) as session:
        async with Library(session) as library:
            await library.publish("Bob", "More")
        with pytest.raises(Exception, match=r"(?i)null"):
            async with Library(session) as library:
                session.add(Author(name=None))
        assert not session.in_transaction()
    assert await names(database) == ["Ada", "Bob"]
