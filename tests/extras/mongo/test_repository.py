"""The verbs of ``MongoRepository``."""

from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, ClassVar

import pytest
from bson import ObjectId
from pydantic import BaseModel, Field, ValidationError
from pymongo.errors import DuplicateKeyError

from fastapi_asyncdb.errors import (
    ConfigurationError,
    DuplicateKey,
    InvalidValue,
    NotFoundError,
    TooManyRows,
)
from fastapi_asyncdb.extras.mongo import MongoDatabase, MongoReadRepository, MongoRepository
from tests.extras.mongo.library import Author, Book, PerYear


@pytest.fixture
async def authors(mongo: MongoDatabase):
    """A repository on an empty collection."""
    async with mongo.session() as session:
        yield MongoRepository[Author](session)


@pytest.fixture
async def books(mongo: MongoDatabase):
    """A repository on an empty collection."""
    async with mongo.session() as session:
        yield MongoRepository[Book](session)


class AuthorPatch(BaseModel):
    name: str = ""
    country: str | None = None


async def test_create_and_get(authors: MongoRepository[Author]):
    """From values, a mapping, a schema or an object."""
    ada = await authors.create(name="Ada", email="ada")
    bob = await authors.create({"name": "Bob"}, email="bob")
    eve = await authors.create(Author(name="Eve", email="eve"))
    assert await authors.get(ada.id) == ada
    assert await authors.get(str(bob.id)) == bob
    assert await authors.get_or_raise(eve.id) == eve
    assert await authors.get(ObjectId()) is None
    assert await authors.get("nonsense") is None
    with pytest.raises(NotFoundError, match="There is no Author with the key") as raised:
        await authors.get_or_raise(ObjectId())
    assert raised.value.model == "Author"


async def test_create_checks_the_values(authors: MongoRepository[Author]):
    """By the model, before anything is sent."""
    with pytest.raises(TypeError, match="'nmae' is no attribute of Author"):
        await authors.create(nmae="Ada", email="ada")
    with pytest.raises(ValidationError):
        await authors.create(name="a" * 101, email="ada")
    assert await authors.count() == 0


async def test_duplicate_key_names_the_index(authors: MongoRepository[Author]):
    """By insert, update and upsert; not the values."""
    await authors.create(name="Ada", email="ada@example.org")
    bob = await authors.create(name="Bob", email="bob")
    for work in (
        authors.create(name="Eve", email="ada@example.org"),
        authors.update(bob, email="ada@example.org"),
        authors.create_many([{"name": "Eve", "email": "ada@example.org"}]),
    ):
        with pytest.raises(DuplicateKey) as raised:
            await work
        assert (raised.value.index, raised.value.fields) == ("uq_email", ("email",))
        assert "example.org" not in str(raised.value)
        assert isinstance(raised.value, DuplicateKeyError)


async def test_find(authors: MongoRepository[Author]):
    """By values, by a raw filter, in an order."""
    await authors.create_many(
        {"name": name, "email": name, "country": country}
        for name, country in (("Ada", "uk"), ("Bob", "us"), ("Eve", "uk"), ("Zoe", None))
    )
    assert [each.name for each in await authors.list(order_by="-name", country="uk")] == [
        "Eve",
        "Ada",
    ]
    assert [each.name for each in await authors.list(order_by=("country", "-name"))] == [
        "Zoe",
        "Eve",
        "Ada",
        "Bob",
    ]
    found = await authors.list(raw_filter={"name": {"$gte": "B"}}, country="uk")
    assert [each.name for each in found] == ["Eve"]
    assert [each.name for each in await authors.list(order_by="name", offset=1, limit=2)] == [
        "Bob",
        "Eve",
    ]
    assert await authors.list(limit=0) == []
    one = await authors.find_one(email="Zoe")
    assert one is not None
    assert one.country is None
    assert await authors.find_one(email="Nobody") is None
    assert (await authors.count(country="uk"), await authors.count()) == (2, 4)
    assert (await authors.exists(country="us"), await authors.exists(country="de")) == (True, False)
    with pytest.raises(TypeError, match="is no attribute"):
        await authors.list(order_by="$where")


async def test_list_is_bounded(authors: MongoRepository[Author]):
    """As of the SQL repository."""

    class Few(MongoRepository[Author]):
        max_rows = 2

    few = Few(authors.session)
    await few.create_many({"name": str(n), "email": str(n)} for n in range(3))
    with pytest.raises(TooManyRows, match="more than the 2 documents"):
        await few.list()
    assert len(await few.list(limit=2)) == 2
    with pytest.raises(ConfigurationError, match="between 0 and the 2"):
        await few.list(limit=3)
    with pytest.raises(TooManyRows):
        await few.aggregate([], dict)


async def test_create_many_in_batches(authors: MongoRepository[Author]):
    """From an asynchronous iterable too; the batch has a bound."""
    seen: list[int] = []

    async def rows():
        for number in range(25):
            yield {"name": "x", "email": str(number)}

    assert await authors.create_many(rows(), batch_size=10, progress=seen.append) == 25
    assert seen == [10, 20, 25]
    with pytest.raises(ConfigurationError, match="above the 10000 documents"):
        await authors.create_many([], batch_size=10_001)


async def test_update(authors: MongoRepository[Author]):
    """Only what was set; an object or a key."""
    ada = await authors.create(name="Ada", email="ada", country="uk")
    changed = await authors.update(ada, AuthorPatch(country=None))
    assert (changed.name, changed.country) == ("Ada", None)
    assert (await authors.update(str(ada.id), name="Countess")).name == "Countess"
    assert (await authors.update(ada.id, AuthorPatch())).name == "Countess"
    for missing in (ObjectId(), "nonsense"):
        with pytest.raises(NotFoundError):
            await authors.update(missing, name="x")
    with pytest.raises(TypeError, match="is no attribute"):
        await authors.update(ada, {"$set": {"name": "x"}})
    with pytest.raises(ValidationError):  # what could not be read again
        await authors.update(ada, name="a" * 101)
    with pytest.raises(ValidationError):
        await authors.update_where({"name": 7}, email="ada")
    assert await authors.update_where({"country": "fr"}, name="Countess") == 1
    with pytest.raises(ConfigurationError, match="every document"):
        await authors.update_where({"country": "fr"})


async def test_upsert(authors: MongoRepository[Author]):
    """It inserts, then updates what it gives, and leaves the rest alone."""
    first = await authors.upsert(
        {"name": "Ada", "email": "ada", "country": "uk"}, conflict=["email"]
    )
    second = await authors.upsert({"name": "Countess", "email": "ada"}, conflict=["email"])
    assert (second.id, second.name, second.country) == (first.id, "Countess", "uk")
    third = await authors.upsert({"name": "Eve", "email": "ada"}, conflict=["email"], update=())
    assert third == second
    assert await authors.count() == 1


async def test_delete(authors: MongoRepository[Author]):
    """One, or those of a filter; never all by mistake."""
    ada = await authors.create(name="Ada", email="ada")
    await authors.create_many({"name": "x", "email": str(n)} for n in range(3))
    await authors.delete(ada)
    with pytest.raises(NotFoundError):
        await authors.delete(ada.id)
    with pytest.raises(ConfigurationError, match="every document"):
        await authors.delete_where()
    assert await authors.delete_where(raw_filter={"email": {"$in": ["0", "1"]}}, name="x") == 2
    assert await authors.count() == 1


async def test_aggregate_is_typed(books: MongoRepository[Book]):
    """The results are validated; what writes is refused."""
    await books.create_many({"title": str(n), "year": 2000 + n % 2} for n in range(5))
    pipeline: list[dict[str, Any]] = [
        {"$group": {"_id": "$year", "books": {"$sum": 1}}},
        {"$project": {"_id": 0, "year": "$_id", "books": 1}},
        {"$sort": {"year": 1}},
    ]
    assert await books.aggregate(pipeline, PerYear) == [
        PerYear(year=2000, books=3),
        PerYear(year=2001, books=2),
    ]
    assert len(await books.aggregate(pipeline, PerYear, limit=1)) == 1
    with pytest.raises(ValidationError):
        await books.aggregate([{"$project": {"title": 1}}], PerYear)
    with pytest.raises(ConfigurationError, match=r"\$out and \$merge write"):
        await books.aggregate([{"$out": "elsewhere"}], dict)


async def test_search(books: MongoRepository[Book]):
    """The best first, with exclusions and values beside; a long text is refused."""
    await books.create(title="Tea", summary="water and leaves", year=1)
    await books.create(title="Coffee", summary="water, beans; no tea", year=2)
    await books.create(title="Bread", summary="flour", year=2)
    assert [each.title for each in await books.search("tea")] == ["Tea", "Coffee"]
    assert [each.title for each in await books.search("tea -beans")] == ["Tea"]
    assert [each.title for each in await books.search("water", year=2)] == ["Coffee"]
    assert [each.title for each in await books.search("tea", limit=1)] == ["Tea"]
    assert await books.search("  ") == []
    with pytest.raises(InvalidValue, match="longer than the 200"):
        await books.search("x" * 201)
    with pytest.raises(ConfigurationError, match="between 0 and"):
        await books.search("x", limit=5000)


async def test_stream(books: MongoRepository[Book]):
    """In batches of the server's cursor; it may be left early."""
    await books.create_many({"title": str(n), "year": n} for n in range(25))
    years = [book.year async for book in books.stream(batch_size=10, order_by="-year")]
    assert years == list(range(24, -1, -1))
    async with aclosing(books.stream(batch_size=2)) as some:
        async for _ in some:
            break


async def test_conditions_of_a_repository(authors: MongoRepository[Author]):
    """They hold for queries, changes and deletions."""

    class British(MongoRepository[Author]):
        def conditions(self) -> Mapping[str, Any]:
            return {"country": "uk"}

    british = British(authors.session)
    bob = await authors.create(name="Bob", email="bob", country="us")
    ada = await british.create(name="Ada", email="ada", country="uk")
    assert [each.name for each in await british.list()] == ["Ada"]
    assert await british.get(bob.id) is None
    assert await british.count() == 1
    assert len(await british.aggregate([], dict)) == 1
    for work in (british.update(bob, name="x"), british.delete(bob)):
        with pytest.raises(NotFoundError):
            await work
    assert await british.delete_where(raw_filter={"name": {"$ne": ""}}) == 1
    assert await authors.get(ada.id) is None


async def test_model_of_ones_own(mongo: MongoDatabase):
    """Any model with a field whose alias is ``_id``, and a key of another type."""

    class Setting(BaseModel):
        __collection__: ClassVar[str] = "settings"
        name: str = Field(alias="_id")
        value: int

    async with mongo.session() as session:
        settings = MongoRepository[Setting](session)
        await settings.create({"name": "size", "value": 1})
        await settings.create(Setting(_id="depth", value=1))
        assert (await settings.update("size", value=2)).value == 2
        found = await settings.find_one(name="size")
        assert found is not None
        assert await settings.get(7) is None


def test_repository_without_a_model():
    """The message says what to write."""
    with pytest.raises(ConfigurationError, match=r"MongoReadRepository\[Note\]"):
        MongoReadRepository(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    class Nothing(BaseModel):
        id: int

    with pytest.raises(ConfigurationError, match="Nothing is no model of a collection"):
        _ = MongoRepository[Nothing](None).layout  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
