"""``DocumentId`` in models, paths, bodies and OpenAPI."""

from typing import Any

import pytest
from bson import ObjectId
from fastapi import FastAPI
from pydantic import BaseModel, TypeAdapter, ValidationError

from fastapi_asyncdb.extras.mongo import DocumentId
from tests.extras.mongo.library import Author
from tests.support.application import client

KEY = "0123456789abcdef01234567"


class Reference(BaseModel):
    author_id: DocumentId


def application() -> FastAPI:
    """Routes with a key in the path, the body and the response."""
    app = FastAPI()

    @app.get("/authors/{author_id}")
    async def get_author(author_id: DocumentId) -> Author:
        assert isinstance(author_id, ObjectId)
        return Author(id=author_id, name="Ada", email="ada")

    @app.post("/references")
    async def refer(body: Reference) -> Reference:
        assert isinstance(body.author_id, ObjectId)
        return body

    return app


async def test_key_is_a_text_in_json():
    """In and out."""
    async with client(application()) as http:
        author = (await http.get(f"/authors/{KEY}")).json()
        assert author["id"] == KEY
        assert "_id" not in author
        answer = await http.post("/references", json={"author_id": KEY})
        assert answer.json() == {"author_id": KEY}


@pytest.mark.parametrize(
    "wrong", ["x", KEY[:-1], KEY + "0", KEY.upper(), "%7B%22%24gt%22%3A%22%22%7D"]
)
async def test_other_text_is_no_key(wrong: str):
    """FastAPI answers 422 with one error."""
    async with client(application()) as http:
        answer = await http.get(f"/authors/{wrong}")
        assert (answer.status_code, len(answer.json()["detail"])) == (422, 1)


@pytest.mark.parametrize("wrong", [{"$gt": ""}, {"$oid": KEY}, 7, None, [KEY]], ids=str)
async def test_other_json_is_no_key(wrong: Any):
    """Nothing but a text is."""
    async with client(application()) as http:
        answer = await http.post("/references", json={"author_id": wrong})
        assert answer.status_code == 422


def test_openapi_has_the_pattern():
    """Of parameters, bodies and responses."""
    schema = application().openapi()
    [parameter] = schema["paths"]["/authors/{author_id}"]["get"]["parameters"]
    expected = {"type": "string", "pattern": "^[0-9a-f]{24}$"}
    assert expected.items() <= parameter["schema"].items()
    schemas = schema["components"]["schemas"]
    assert expected.items() <= schemas["Reference"]["properties"]["author_id"].items()
    assert expected.items() <= schemas["Author"]["properties"]["id"].items()


def test_python_has_the_object_id():
    """Models keep it, and dump it."""
    key = ObjectId(KEY)
    adapter: TypeAdapter[Any] = TypeAdapter(DocumentId)
    assert adapter.validate_python(key) is key
    assert adapter.validate_python(KEY) == key
    assert adapter.dump_python(key) is key
    assert Reference(author_id=key).model_dump() == {"author_id": key}
    with pytest.raises(ValidationError):
        adapter.validate_python(b"0" * 12)
