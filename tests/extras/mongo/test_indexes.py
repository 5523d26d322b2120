"""Declared indexes: created, compared, left alone."""

import asyncio
import logging
from typing import Any, ClassVar

import pytest
from pymongo import IndexModel

from fastapi_asyncdb.errors import DuplicateKey, IndexMismatch
from fastapi_asyncdb.extras.mongo import Document, MongoDatabase, MongoRepository, MongoSettings
from fastapi_asyncdb.extras.mongo.indexes import differences
from tests.extras.mongo.library import Author, Book


def model_with(*indexes: IndexModel) -> Any:
    """Return a model of the collection ``authors`` with other indexes."""

    class Other(Document):
        __collection__: ClassVar[str] = "authors"
        __indexes__ = indexes

    return Other


async def indexes(mongo: MongoDatabase, name: str = "authors") -> dict[str, dict[str, Any]]:
    """Return what the database has."""
    return {index["name"]: dict(index) async for index in await mongo.database[name].list_indexes()}


async def test_start_creates_what_is_missing(mongo: MongoDatabase):
    """Unique, compound, TTL and text."""
    found = await indexes(mongo)
    assert set(found) == {"_id_", "uq_email", "country_1_name_-1", "forget"}
    assert found["uq_email"]["unique"] is True
    assert list(found["country_1_name_-1"]["key"].items()) == [("country", 1), ("name", -1)]
    assert found["forget"]["expireAfterSeconds"] == 3600
    assert (await indexes(mongo, "books"))["words"]["weights"] == {"title": 5, "summary": 1}


async def test_partial_index_is_unique_for_some(mongo: MongoDatabase, settings: MongoSettings):
    """Only where its condition holds."""
    partial = IndexModel(
        "name", unique=True, name="uq_uk", partialFilterExpression={"country": "uk"}
    )
    async with MongoDatabase(settings, models=[model_with(partial)]), mongo.session() as session:
        authors = MongoRepository[Author](session)
        await authors.create_many({"name": "Ada", "email": str(n)} for n in range(2))
        await authors.create(name="Ada", email="uk", country="uk")
        with pytest.raises(DuplicateKey) as raised:
            await authors.create(name="Ada", email="again", country="uk")
        assert raised.value.index == "uq_uk"


async def test_second_start_changes_nothing(mongo: MongoDatabase, settings: MongoSettings):
    """Also when several processes start at the same time."""
    before = await indexes(mongo)
    others = [MongoDatabase(settings, models=[Author, Book]) for _ in range(3)]
    for other in others:
        async with other:
            pass
    assert await indexes(mongo) == before


async def test_processes_start_together(settings: MongoSettings):
    """Each finds the indexes, also those that another one has created."""

    async def start() -> None:
        mongo = MongoDatabase(settings, models=[Author, Book])
        run_on = mongo.start(settings)
        await run_on
        await mongo.stop()

    await asyncio.gather(*(start() for _ in range(3)))
    async with MongoDatabase(settings) as mongo:
        assert len(await indexes(mongo)) == 4
        await mongo.client.drop_database(mongo.database)


@pytest.mark.parametrize(
    ("index", "different"),
    [
        (IndexModel("email", name="uq_email"), "unique"),
        (IndexModel("name", name="uq_email", unique=True), "key"),
        (IndexModel("email", unique=True, sparse=True), "sparse"),
        (IndexModel("seen", expireAfterSeconds=60, name="forget"), "expireAfterSeconds"),
        (
            IndexModel("email", unique=True, partialFilterExpression={"country": "uk"}),
            "partialFilterExpression",
        ),
    ],
    ids=["unique", "key", "sparse", "ttl", "partial"],
)
async def test_different_index_stops_the_start(
    mongo: MongoDatabase, settings: MongoSettings, index: IndexModel, different: str
):
    """The message has the name and both definitions, and nothing is changed."""
    before = await indexes(mongo)
    other = MongoDatabase(settings, models=[model_with(index)])
    with pytest.raises(
        IndexMismatch, match=rf"of authors differs .* in {different}\. Declared: .*"
    ) as raised:
        await other.start()
    assert "In the database: {" in str(raised.value)
    assert repr(other) == "<MongoDatabase not started>"
    assert await indexes(mongo) == before


async def test_difference_may_be_a_warning(
    mongo: MongoDatabase, settings: MongoSettings, caplog: pytest.LogCaptureFixture
):
    """For a release beside the old one."""
    model = model_with(IndexModel("email", name="uq_email"))
    async with MongoDatabase(settings, models=[model], on_index_difference="warning"):
        assert "The index uq_email of authors differs" in caplog.text


async def test_ttl_is_changed_when_asked(mongo: MongoDatabase, settings: MongoSettings):
    """And nothing else is."""
    ttl = model_with(IndexModel("seen", expireAfterSeconds=60, name="forget"))
    async with MongoDatabase(settings, models=[ttl], on_index_difference="change ttl"):
        assert (await indexes(mongo))["forget"]["expireAfterSeconds"] == 60
    more = model_with(IndexModel("email", name="uq_email"))
    with pytest.raises(IndexMismatch):
        await MongoDatabase(settings, models=[more], on_index_difference="change ttl").start()


async def test_unknown_index_is_left_alone(
    mongo: MongoDatabase, settings: MongoSettings, caplog: pytest.LogCaptureFixture
):
    """The log names it."""
    await mongo.database["authors"].create_index("name", name="by_hand")
    caplog.set_level(logging.INFO)
    async with MongoDatabase(settings, models=[Author]):
        assert "by_hand" in await indexes(mongo)
    assert "authors has the index by_hand, which no model declares." in caplog.text


async def test_same_index_of_another_name_is_taken(mongo: MongoDatabase, settings: MongoSettings):
    """MongoDB has no two indexes with the same keys."""
    model = model_with(IndexModel("email", unique=True, name="another_name"))
    async with MongoDatabase(settings, models=[model]):
        assert "another_name" not in await indexes(mongo)


async def test_documents_that_violate_a_new_index(mongo: MongoDatabase, settings: MongoSettings):
    """The start fails with the error of the library."""
    await mongo.database["authors"].insert_many(
        [{"email": "1", "name": "x"}, {"email": "2", "name": "x"}]
    )
    model = model_with(IndexModel("name", unique=True))
    with pytest.raises(DuplicateKey):
        await MongoDatabase(settings, models=[model]).start()


def test_what_the_server_adds_is_no_difference():
    """Of a text index the weights, the version and the language."""
    declared = {"name": "words", "key": {"title": "text", "kind": 1}}
    stored = {
        "v": 2,
        "key": {"_fts": "text", "_ftsx": 1, "kind": 1},
        "name": "words",
        "weights": {"title": 1},
        "default_language": "english",
        "language_override": "language",
        "textIndexVersion": 3,
    }
    assert differences(declared, stored) == set()
    assert differences(declared | {"default_language": "german"}, stored) == {"default_language"}
    assert differences(declared | {"weights": {"title": 3}}, stored) == {"key"}
