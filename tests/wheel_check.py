"""Runs the README's application with nothing but the installed wheel: no extras, no httpx, no pytest.

Called by ``make test-wheel`` with the interpreter of an environment that has only the wheel.
"""

import asyncio
import importlib.util
import os
import re
import sys
import tempfile
from importlib.metadata import files
from pathlib import Path
from typing import Any

README = Path(__file__).resolve().parent.parent / "README.md"


async def request(app: Any, method: str, path: str, query: str = "") -> tuple[int, bytes]:
    """Send one request, spoken in ASGI; return status and body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [],
        "state": {},
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


async def check() -> None:
    """Create a row and read it back, twice, with a restart between."""
    block = re.search(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec(block[1] if block else "", namespace)
    app = namespace["app"]
    for expected in (b'["ada"]', b'["ada","ada"]'):
        async with app.router.lifespan_context(app):
            assert (await request(app, "POST", "/heroes", "name=ada"))[0] == 201
            assert await request(app, "GET", "/heroes") == (200, expected)


async def check_missing_driver() -> None:
    """PostgreSQL without its extra is one error with the line to type."""
    from fastapi_asyncdb import Database, DatabaseSettings
    from fastapi_asyncdb.errors import MissingExtra

    message = ""
    try:
        await Database(DatabaseSettings(url="postgresql://localhost/app")).start()
    except MissingExtra as error:
        message = str(error)
    assert "pip install 'fastapi-asyncdb[postgresql]'" in message, message


def check_files() -> None:
    """The wheel puts two names on the import path, and the skill where agents look for it."""
    installed = {path.as_posix() for path in files("fastapi-asyncdb") or ()}
    own = {
        name for name in installed if not name.startswith(("..", "fastapi_asyncdb-", "__pycache__"))
    }
    assert {name.partition("/")[0] for name in own} == {"fastapi_asyncdb", "pytest_asyncdb.py"}, own
    assert "fastapi_asyncdb/.agents/skills/fastapi-asyncdb/SKILL.md" in own
    for name in ("tests", "benchmarks", "example_app"):
        assert importlib.util.find_spec(name) is None, f"{name} is on the import path"


if __name__ == "__main__":
    for name in ("asyncpg", "httpx", "pytest", "typer"):
        assert importlib.util.find_spec(name) is None, (
            f"{name} is installed: not an empty environment"
        )
    os.chdir(tempfile.mkdtemp())
    asyncio.run(check())
    asyncio.run(check_missing_driver())
    check_files()
    import fastapi_asyncdb

    assert "site-packages" in str(fastapi_asyncdb.__file__)
    sys.stdout.write("The wheel runs the README's application.\n")
