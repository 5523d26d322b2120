"""Pages in routes: parameters, responses, and what OpenAPI says of them."""

import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import fastapi
import httpx
import pytest
from fastapi import Depends, FastAPI
from packaging.version import Version
from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass
from sqlalchemy import MetaData, String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import (
    CursorPage,
    CursorQuery,
    Database,
    Page,
    PageQuery,
    paginate,
    paginate_cursor,
)
from tests.support.application import running
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


class Base(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class User(Base):
    __tablename__ = "routed_user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    password: Mapped[str]


validated: list[int] = []


class UserOut(BaseModel):
    id: int
    name: str

    def model_post_init(self, context: Any) -> None:
        """Note that it was validated."""
        validated.append(self.id)


@dataclass(frozen=True)
class WidePage(PageQuery):
    limit: Annotated[int, Field(ge=1, le=500)] = 3


threads: set[int] = set()


@dataclass(frozen=True)
class Watched(CursorQuery):
    """Notes the thread that makes it."""

    def __post_init__(self) -> None:
        threads.add(threading.get_ident())


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """An application with pages of five users."""
    app = FastAPI()
    ReadDB = Annotated[AsyncSession, Depends(database.get_read_db)]
    in_order = select(User).order_by(User.name.desc())

    @app.get("/users")
    async def users(db: ReadDB, query: Annotated[PageQuery, Depends()]) -> Page[UserOut]:
        return (await paginate(db, in_order, query)).to(UserOut)

    @app.get("/objects", response_model=Page[UserOut])
    async def objects(db: ReadDB, query: Annotated[WidePage, Depends()]) -> Page[User]:
        return await paginate(db, in_order, query)

    @app.get("/feed")
    async def feed(db: ReadDB, query: Annotated[CursorQuery, Depends()]) -> CursorPage[UserOut]:
        return (await paginate_cursor(db, in_order, query)).to(UserOut)

    @app.get("/feed-of-objects", response_model=CursorPage[UserOut])
    async def feed_of_objects(db: ReadDB, query: Annotated[Watched, Depends()]) -> CursorPage[User]:
        return await paginate_cursor(db, in_order, query)

    async with database.session() as session:
        session.add_all(User(name=name, password="secret") for name in "abcde")
    async with running(app) as client:
        validated.clear()
        yield client


async def test_pages_are_responses(http: httpx.AsyncClient):
    """The fields of the schema and of the page, and nothing else."""
    response = await http.get("/users", params={"offset": 1, "limit": 2})
    assert response.json() == {
        "items": [{"id": 4, "name": "d"}, {"id": 3, "name": "c"}],
        "total": 5,
        "offset": 1,
        "limit": 2,
        "has_more": True,
    }
    assert validated == [4, 3]


async def test_pages_of_objects_are_responses(http: httpx.AsyncClient):
    """The response model makes the schema of the objects; a subclass has other defaults."""
    page = (await http.get("/objects")).json()
    assert (page["items"][0], page["limit"]) == ({"id": 5, "name": "e"}, 3)
    assert (await http.get("/objects", params={"limit": 200})).json()["limit"] == 200
    step = (await http.get("/feed-of-objects", params={"limit": 1})).json()
    assert step["items"] == [{"id": 5, "name": "e"}]


async def test_cursors_lead_from_page_to_page(http: httpx.AsyncClient):
    """A client passes them on as they are."""
    first = (await http.get("/feed", params={"limit": 2})).json()
    assert first.keys() == {"items", "next_cursor", "previous_cursor", "limit"}
    second = (await http.get(f"/feed?limit=2&cursor={first['next_cursor']}")).json()
    assert [user["name"] for user in second["items"]] == ["c", "b"]
    back = (await http.get(f"/feed?limit=2&cursor={second['previous_cursor']}")).json()
    assert back["items"] == first["items"]
    assert (first["previous_cursor"], back["previous_cursor"]) == (None, None)


@pytest.mark.parametrize(
    "path",
    [
        "/users?limit=101",
        "/users?limit=0",
        "/users?offset=-1",
        "/users?offset=2147483648",
        "/feed?limit=101",
        f"/feed?cursor={'A' * 5000}",
    ],
)
@pytest.mark.databases("sqlite")
async def test_parameters_out_of_bounds_are_422(http: httpx.AsyncClient, path: str):
    """FastAPI refuses them and names the parameter."""
    response = await http.get(path)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][0] == "query"


@pytest.mark.databases("sqlite")
async def test_openapi_documents_pages(http: httpx.AsyncClient):
    """Bounds, defaults, descriptions, and the schema of the items."""
    document = (await http.get("/openapi.json")).json()
    parameters = {each["name"]: each for each in document["paths"]["/users"]["get"]["parameters"]}
    limit = parameters["limit"]["schema"]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 100, 20)
    assert parameters["offset"]["schema"]["description"] == "How many items to skip."
    if Version(fastapi.__version__) >= Version("0.165"):  # 0.150 has it in the schema only
        assert parameters["offset"]["description"] == "How many items to skip."
    schemas = document["components"]["schemas"]
    page, step = schemas["Page_UserOut_"], schemas["CursorPage_UserOut_"]
    assert (page["title"], step["title"]) == ("Page[UserOut]", "CursorPage[UserOut]")
    assert page["properties"]["items"]["items"] == {"$ref": "#/components/schemas/UserOut"}
    assert list(page["properties"]) == ["items", "total", "offset", "limit", "has_more"]
    assert list(step["properties"]) == ["items", "next_cursor", "previous_cursor", "limit"]
    assert all(
        "description" in each for name, each in page["properties"].items() if name != "items"
    )


@pytest.mark.databases("sqlite")
@pytest.mark.skipif(
    Version(fastapi.__version__) < Version("0.123"), reason="FastAPI does not look behind a class"
)
async def test_a_query_costs_no_thread(http: httpx.AsyncClient):
    """FastAPI makes it on the event loop."""
    threads.clear()
    assert (await http.get("/feed-of-objects")).status_code == 200
    assert threads == {threading.get_ident()}
