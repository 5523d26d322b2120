"""``install_read_your_writes`` without replicas: its arguments, what it signs, and what it costs."""

import time
from typing import Annotated, Any, Unpack

import pytest
from fastapi import Depends, FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, install_read_your_writes
from fastapi_asyncdb.engine.client_writes import NOTHING, UNKNOWN
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.web.position_headers import CookieOptions, PositionHeaders
from tests.support.application import client

pytestmark = pytest.mark.promise("T22")

SECRET = "a secret of at least sixteen bytes"


async def test_database_without_replicas(database: Database):
    """There is nothing to tell a client: no cookie, no header."""
    app = FastAPI()
    install_read_your_writes(app, database=database, secret=SECRET, header="X-Written")

    @app.post("/")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        await db.execute(text("SELECT 1"))

    async with client(app) as http:
        response = await http.post("/", headers={"X-Written": "anything"})
    assert response.status_code == 200
    assert not {"set-cookie", "x-written"} & set(response.headers)


async def test_database_that_is_not_started():
    """A request that needs none is served."""
    app, database = FastAPI(), Database()
    install_read_your_writes(app, database=database, secret=SECRET)

    @app.get("/")
    async def read() -> None: ...

    async with client(app) as http:
        assert (await http.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"secret": ""}, "fewer than 16 bytes"),
        ({"secret": b"short"}, "fewer than 16 bytes"),
        ({"secret": SecretStr("short")}, "fewer than 16 bytes"),
        ({"secret": [SECRET, "short"]}, "fewer than 16 bytes"),
        ({"secret": []}, "secret .* is missing"),
        ({"secret": None}, "secret .* is missing"),
        ({"max_age": 0}, "max_age of at least one second"),
        ({"cookie": None}, "a cookie or a header"),
        ({"cookie": "a b"}, "a cookie or a header"),
        ({"header": "X-Written:"}, "a cookie or a header"),
        ({"cookie": "", "header": "X-Written"}, "a cookie or a header"),
        ({"samesite": "loose"}, "samesite"),
    ],
)
def test_arguments_that_are_invalid(arguments: dict[str, Any], words: str):
    """They are refused where the application is made, and the message has no secret."""
    chosen: dict[str, Any] = {"secret": SECRET, **arguments}
    with pytest.raises(ConfigurationError, match=words) as raised:
        install_read_your_writes(FastAPI(), **chosen)
    assert "short" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_secret_is_in_no_repr():
    """Starlette shows the arguments of a middleware."""
    app = FastAPI()
    install_read_your_writes(app, secret=SECRET)
    assert SECRET not in repr(app.user_middleware)


def test_twice_for_the_same_database():
    """The second call would serve no request."""
    app = FastAPI()
    install_read_your_writes(app, secret=SECRET)
    with pytest.raises(ConfigurationError, match="twice"):
        install_read_your_writes(app, secret=SECRET)


async def test_after_the_start():
    """Starlette refuses it, as any middleware."""
    app = FastAPI()
    async with client(app) as http:
        await http.get("/")
    with pytest.raises(RuntimeError, match="after an application has started"):
        install_read_your_writes(app, secret=SECRET)


async def test_same_name_in_a_mounted_application():
    """Each response would overwrite the position of the other database."""
    app, mounted = FastAPI(), FastAPI()
    install_read_your_writes(app, secret=SECRET)
    install_read_your_writes(mounted, database=Database(), secret=SECRET)
    app.mount("/mounted", mounted)
    async with client(app) as http:
        assert (await http.get("/")).status_code == 404
    with pytest.raises(ConfigurationError, match="for two databases"):
        async with client(app) as http:
            http._transport.raise_app_exceptions = True  # type: ignore[attr-defined]
            await http.get("/mounted/")


def headers(**options: Unpack[CookieOptions]) -> PositionHeaders:
    """Return what reads and writes positions."""
    return PositionHeaders([SECRET], "written", "x-written", 600, options)


@pytest.mark.parametrize("position", [0, 2**63, UNKNOWN])
def test_positions(position: float):
    """Each is read as it was written."""
    header, cookie = headers().write(position, is_secure=False)
    assert headers().read([header]) == position
    assert headers().read([(b"cookie", b"a=b; " + cookie[1])]) == position
    assert headers().read([(b"cookie", b"a=b")]) == NOTHING


def test_furthest_position_counts():
    """A client may send several, of which some are not its own; so many are read and no more."""
    texts = [headers().write(position, is_secure=False)[0] for position in (1, 3, 2, 0, 4)]
    assert headers().read(texts) == 3


@pytest.mark.parametrize(("seconds", "counts"), [(599, True), (601, False), (-599, True)])
def test_age(monkeypatch: pytest.MonkeyPatch, seconds: int, counts: bool):
    """Old text is not read; the clock of another process may be ahead."""
    now = time.time()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now - seconds)
        header, _ = headers().write(UNKNOWN, is_secure=False)
    assert headers().read([header]) == (UNKNOWN if counts else NOTHING)


def test_cookie_of_ones_own():
    """The options are those of Starlette's cookies."""
    own = headers(secure=True, samesite="none", path="/api", domain="example.org")
    _, (name, value) = own.write(1, is_secure=False)
    assert name == b"set-cookie"
    attributes = set(value.decode().split("; ")[1:])
    expected = "Domain=example.org HttpOnly Max-Age=600 Path=/api SameSite=none Secure"
    assert attributes == set(expected.split())
