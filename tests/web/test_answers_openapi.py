"""What OpenAPI says of routes with answers: the same as without them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from fastapi_asyncdb import Answer, CursorPage, CursorQuery, Page, PageQuery, ReadDB
from tests.data.answers.forum import PostOut, Title

T = TypeVar("T")


class Envelope(BaseModel, Generic[T]):
    """A generic of the application's own."""

    data: T
    notes: list[str] = []


class Tree(BaseModel):
    """It contains itself, and has other names in JSON."""

    model_config = ConfigDict(title="A tree")
    name: Annotated[str, Field(serialization_alias="treeName", description="Of the tree.")]
    below: list[Tree] = []


SCHEMAS: list[Any] = [
    PostOut,
    PostOut | None,
    list[PostOut],
    Page[PostOut],
    CursorPage[PostOut],
    Envelope[PostOut],
    Page[Envelope[PostOut]],
    Envelope[list[Title]] | None,
    dict[str, list[Title]],
    list[Tree],
    Page[int],
    list[Any],
]


def document(add: Callable[[APIRouter, Any], None]) -> list[dict[str, Any]]:
    """Return the OpenAPI of an application for each schema, and of one that has them all."""
    apps = []
    for schemas in (*([each] for each in SCHEMAS), SCHEMAS):
        app = FastAPI()
        for number, schema in enumerate(schemas):
            router = APIRouter(prefix=f"/{number}")
            add(router, schema)
            app.include_router(router)
        apps.append(app.openapi())
    return apps


def annotated_plainly(router: APIRouter, schema: Any) -> None:
    """Add a route of FastAPI alone."""

    async def posts(db: ReadDB) -> Any: ...

    posts.__annotations__["return"] = schema
    router.get("/posts")(posts)


def annotated_as_answer(router: APIRouter, schema: Any) -> None:
    """Add a route that says which answer it returns."""

    async def posts(db: ReadDB) -> Any: ...

    posts.__annotations__["return"] = Answer[schema]
    router.get("/posts")(posts)


def declared(router: APIRouter, schema: Any) -> None:
    """Add a route with a response model, whose function says more."""

    async def posts(db: ReadDB) -> Answer[Any]:
        raise NotImplementedError

    router.get("/posts", response_model=schema)(posts)


@pytest.mark.parametrize("add", [annotated_as_answer, declared])
def test_documents_are_the_same(add: Callable[[APIRouter, Any], None]):
    """Names, titles, references and examples of each schema, alone and beside the others."""
    for found, expected in zip(document(add), document(annotated_plainly), strict=True):
        assert found == expected


router = APIRouter()


@router.get("/posts")
async def posts(db: ReadDB) -> Answer[list[PostOut]]:
    """List posts."""
    raise NotImplementedError


@router.get("/page", status_code=206)
async def page(db: ReadDB, query: Annotated[PageQuery, Depends()]) -> Answer[Page[PostOut]]:
    """Return a page."""
    raise NotImplementedError


@router.get("/feed", response_model=CursorPage[PostOut], tags=["posts"])
async def feed(db: ReadDB, query: Annotated[CursorQuery, Depends()]) -> Answer[Any]:
    """Return a step."""
    raise NotImplementedError


@router.get("/bare")
async def bare(db: ReadDB) -> Answer:  # type: ignore[type-arg]
    """Say nothing about the body."""
    raise NotImplementedError


def test_annotations_that_are_texts():
    """They are those of this module, as ``from __future__ import annotations`` makes them."""
    assert posts.__annotations__["return"] == "Answer[list[PostOut]]"
    app = FastAPI()
    app.include_router(router)
    paths = app.openapi()["paths"]

    def schema(path: str, status: str = "200") -> Any:
        return paths[path]["get"]["responses"][status]["content"]["application/json"]["schema"]

    assert schema("/posts")["items"] == {"$ref": "#/components/schemas/PostOut"}
    assert schema("/page", "206") == {"$ref": "#/components/schemas/Page_PostOut_"}
    assert schema("/feed") == {"$ref": "#/components/schemas/CursorPage_PostOut_"}
    assert schema("/bare") == {}
