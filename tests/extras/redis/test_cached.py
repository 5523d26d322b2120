"""Functions and routes whose results are values of the cache."""

import datetime
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.redis import (
    Cache,
    RedisCache,
    RedisSettings,
    cache_health_router,
    cache_key,
    cached,
    cached_route,
    default_cache,
    get_cache,
)
from fastapi_asyncdb.testing import async_client
from tests.extras.redis.conftest import Thing

NewSettings = Callable[..., RedisSettings]
pytestmark = pytest.mark.databases("sqlite")


class Colour(Enum):
    RED = "red"


class Item(BaseModel):
    id: int
    name: str = Field(serialization_alias="itemName", default="")


# --- Keys -----------------------------------------------------------------------------------------


def test_values_of_a_key_cannot_be_confused():
    """A client that chooses a part of it does not reach another one's."""
    keys = {
        cache_key("{a}:{b}", a=a, b=b)
        for a, b in (
            ("x", "y:z"),
            ("x:y", "z"),
            ("x%3Ay", "z"),
            (None, "x"),
            ("%", "x"),
            ("None", "x"),
        )
    }
    assert len(keys) == 6
    assert cache_key("u:{id}", id=7) == "u:7"
    assert cache_key("u:{id.year}", id=datetime.date(2026, 1, 2)) == "u:2026"
    assert cache_key("{c}-{u}", c=Colour.RED, u=UUID(int=0)) == f"red-{UUID(int=0)}"
    with pytest.raises(TypeError, match="Name an attribute"):
        cache_key("u:{id}", id=object())


@pytest.mark.parametrize("template", ["{", "{0}", "{}", "{a!r}", "{a:>3}", "{a[0]}", "{b}"])
def test_template_that_cannot_work(template: str):
    """It is refused where it is written."""
    with pytest.raises(ConfigurationError):

        @cached(template)
        async def find(a: int) -> int:
            return a


# --- Functions ------------------------------------------------------------------------------------


async def test_function_is_called_once_for_each_key(cache: RedisCache):
    """Positional and named arguments, and defaults."""
    calls: list[int] = []

    @cached("item:{item_id}:{colour}", tags=["items", "item:{item_id}"], cache=cache)
    async def find(item_id: int, colour: Colour = Colour.RED) -> Item:
        calls.append(item_id)
        return Item(id=item_id)

    for _ in range(2):
        assert await find(1) == await find(item_id=1) == await find(1, Colour.RED) == Item(id=1)
        assert await find(2) == Item(id=2)
    assert calls == [1, 2]
    await cache.invalidate(cache_key("item:{item_id}:{colour}", item_id=1, colour="red"))
    await cache.invalidate(tags=["item:2"])
    await find(1)
    await find(2)
    assert calls == [1, 2, 1, 2]
    assert find.__name__ == "find"


async def test_method_is_cached(cache: RedisCache):
    """The object is no part of the key."""

    class Service:
        calls = 0

        @cached("n:{number}", negative_ttl=60, cache=cache)
        async def double(self, number: int) -> int | None:
            self.calls += 1
            return number * 2 if number else None

    service = Service()
    for _ in range(2):
        assert await service.double(2) == 4
        assert await service.double(0) is None
    assert service.calls == 2


def test_function_without_an_annotation():
    """The annotation is the model."""
    with pytest.raises(ConfigurationError, match="annotate it"):

        @cached("k")
        async def find():
            return 1


# --- Routes ---------------------------------------------------------------------------------------


class Site:
    """An application, how often its handlers ran, and what they answer."""

    def __init__(self, cache: RedisCache) -> None:
        self.app = FastAPI()
        self.cache = cache
        self.calls = 0
        self.authorised: list[str] = []


@pytest.fixture
def site(cache: RedisCache) -> Site:
    """Routes of every kind."""
    site = Site(cache)
    app = site.app

    async def checked(request: Request) -> str:
        name = request.headers.get("x-user", "nobody")
        site.authorised.append(name)
        if name == "mallory":
            raise HTTPException(403)
        return name

    @app.get("/items/{item_id}")
    @cached_route(tags=["item:{item_id}"], cache=cache)
    async def read_item(item_id: int, user: Annotated[str, Depends(checked)]) -> Item:
        site.calls += 1
        if item_id == 0:
            raise HTTPException(404)
        return Item(id=item_id, name=f"call {site.calls}")

    @app.get("/plain", response_class=PlainTextResponse)
    @cached_route(vary_on=["accept-language"], cache=cache)
    def read_plain(request: Request, response: Response) -> str:
        site.calls += 1
        response.headers["x-handler"] = "yes"
        return f"{request.headers.get('accept-language')} {site.calls}"

    @app.get("/mine")
    @cached_route(key=lambda request: request.headers.get("authorization"), cache=cache)
    async def read_mine(request: Request) -> str:
        site.calls += 1
        return f"{request.headers['authorization']} {site.calls}"

    @app.get("/uncached/{kind}")
    @app.post("/uncached/{kind}")
    @cached_route(cache=cache)
    async def uncached(kind: str, response: Response) -> Any:
        site.calls += 1
        if kind == "cookie":
            response.set_cookie("a", "b")
        if kind == "created":
            response.status_code = 201
        if kind == "private":
            response.headers["cache-control"] = "private"
        if kind == "own-cookie":
            own = PlainTextResponse("own")
            own.set_cookie("a", "b")
            return own
        if kind == "stream":
            return StreamingResponse(parts())
        return site.calls

    async def parts() -> AsyncIterator[bytes]:
        yield b"part"

    return site


@pytest.fixture
async def http(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application."""
    async with async_client(site.app) as client:
        yield client


async def test_route_answers_from_the_cache(site: Site, http: httpx.AsyncClient):
    """The body and the headers of the first answer, by path and query."""
    first = await http.get("/items/1?a=1&b=2")
    again = await http.get("/items/1?b=2&a=1")
    assert first.json() == again.json() == {"id": 1, "itemName": "call 1"}
    assert first.headers["content-type"] == again.headers["content-type"] == "application/json"
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["etag"] == again.headers["etag"]
    for other in ("/items/1?a=1&b=3", "/items/2?a=1&b=2", "/items/1"):
        await http.get(other)
    assert site.calls == 4
    await site.cache.invalidate(tags=["item:1"])
    assert (await http.get("/items/1")).json()["itemName"] == "call 5"


async def test_route_answers_what_the_client_has(site: Site, http: httpx.AsyncClient):
    """304 without a body, on a miss and on a hit; a changed value is sent."""
    first = await http.get("/items/1")
    etag = first.headers["etag"]
    for condition in (etag, etag.removeprefix("W/"), f'"x", {etag}', "*"):
        answer = await http.get("/items/1", headers={"if-none-match": condition})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
        assert answer.headers["cache-control"] == "no-cache"
        assert "content-type" not in answer.headers
    assert (await http.get("/items/1", headers={"if-none-match": '"x"'})).status_code == 200
    await site.cache.invalidate(tags=["item:1"])
    assert (await http.get("/items/1", headers={"if-none-match": etag})).status_code == 200


async def test_dependencies_run_for_each_request(site: Site, http: httpx.AsyncClient):
    """A stored answer passes no authentication by."""
    await http.get("/items/1", headers={"x-user": "ada"})
    assert (await http.get("/items/1", headers={"x-user": "bob"})).status_code == 200
    assert (await http.get("/items/1", headers={"x-user": "mallory"})).status_code == 403
    assert site.authorised == ["ada", "bob", "mallory"]
    assert site.calls == 1


async def test_errors_are_not_stored(site: Site, http: httpx.AsyncClient):
    """Each request gets its own."""
    for calls in (1, 2):
        assert (await http.get("/items/0")).status_code == 404
        assert site.calls == calls


async def test_named_headers_make_a_difference(site: Site, http: httpx.AsyncClient):
    """And ``Vary`` names them; the handler's own headers are stored."""
    for language, expected in (("de", "de 1"), ("en", "en 2"), ("de", "de 1")):
        answer = await http.get("/plain", headers={"accept-language": language})
        assert answer.text == expected
        assert answer.headers["vary"] == "accept-language"
        assert answer.headers["x-handler"] == "yes"
        assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("header", ["authorization", "cookie"])
async def test_identified_clients_are_not_answered_from_the_cache(
    site: Site, http: httpx.AsyncClient, header: str
):
    """Unless a function says what their answer depends on."""
    await http.get("/items/1")
    for calls in (2, 3):
        answer = await http.get("/items/1", headers={header: "a=b"})
        assert site.calls == calls
        assert "etag" not in answer.headers


async def test_key_of_the_application(site: Site, http: httpx.AsyncClient):
    """One answer for each user."""
    for user, expected in (("ada", "ada 1"), ("bob", "bob 2"), ("ada", "ada 1")):
        answer = await http.get("/mine", headers={"authorization": user})
        assert answer.json() == expected
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["vary"] == "authorization, cookie"


@pytest.mark.parametrize("kind", ["cookie", "own-cookie", "created", "private", "stream"])
async def test_response_that_must_not_be_stored(site: Site, http: httpx.AsyncClient, kind: str):
    """It is the handler's own, each time."""
    for calls in (1, 2):
        answer = await http.get(f"/uncached/{kind}")
        assert site.calls == calls
        assert answer.status_code == (201 if kind == "created" else 200)
        assert ("set-cookie" in answer.headers) == ("cookie" in kind)
        assert "etag" not in answer.headers


async def test_other_methods_and_long_queries_are_not_stored(site: Site, http: httpx.AsyncClient):
    """A POST is not answered by what a GET has stored."""
    await http.get("/uncached/x")
    await http.post("/uncached/x")
    assert site.calls == 2
    for _ in range(2):
        await http.get("/uncached/x", params={"a": "x" * 3000})
    assert site.calls == 4


def test_generator_is_refused():
    """Its response is a stream."""
    with pytest.raises(ConfigurationError, match="stream"):

        @cached_route()
        async def events() -> AsyncIterator[str]:
            yield "x"


async def test_hit_uses_no_connection(things: Database, cache: RedisCache):
    """Its session sends nothing; and a write of another route invalidates before its answer."""
    app, reads = FastAPI(), 0

    @app.get("/thing")
    @cached_route(tags=["thing"], cache=cache)
    async def read(db: Annotated[AsyncSession, Depends(things.get_read_db)]) -> str:
        nonlocal reads
        reads += 1
        return (await db.get_one(Thing, 1)).name

    @app.put("/thing")
    async def write(name: str, db: Annotated[AsyncSession, Depends(things.get_db)]) -> None:
        cache.invalidate_on_commit(db, tags=["thing"])
        (await db.get_one(Thing, 1)).name = name

    async with async_client(app) as http:
        for name in ("old", "new", "newer"):
            for _ in range(2):
                assert (await http.get("/thing")).json() == name
            await http.put("/thing", params={"name": {"old": "new"}.get(name, "newer")})
    assert reads == 3


# --- The application ------------------------------------------------------------------------------


async def test_alias_is_the_default_cache(
    monkeypatch: pytest.MonkeyPatch, new_settings: NewSettings
):
    """It is configured by REDIS_*, and tests may override it."""
    app = FastAPI()

    @app.get("/")
    async def read(cache: Cache) -> bool:
        return cache is default_cache

    async with async_client(app) as http:
        assert (await http.get("/")).json() is True
        app.dependency_overrides[get_cache] = lambda: None
        assert (await http.get("/")).json() is False


async def test_health_of_a_cache(unused_port: int, new_settings: NewSettings, cache: RedisCache):
    """A cache that is away makes the application unready only on request."""
    url = f"redis://127.0.0.1:{unused_port}/0"
    away = RedisCache(new_settings(url=url, breaker_pause=60))
    app = FastAPI()
    app.include_router(cache_health_router(cache))
    app.include_router(cache_health_router(away, path="/away"))
    app.include_router(cache_health_router(away, path="/required", required=True))
    async with async_client(app) as http, away:
        for path, status, body in (
            ("/health/cache", 200, "ok"),
            ("/away", 200, "unavailable"),
            ("/required", 503, "unavailable"),
        ):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()) == (status, {"status": body})
