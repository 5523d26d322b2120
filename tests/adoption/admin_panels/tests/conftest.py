import asyncio
import os
import shutil
import socket
import threading

import httpx
import pytest
import uvicorn
from sqlalchemy import make_url

url = make_url(os.environ["ADOPTION_DATABASE_URL"])
os.environ["DATABASE_URL"] = url.render_as_string(hide_password=False)
os.environ["DATABASE_ENVIRONMENT"] = "test"

from fastapi_asyncdb import Base, Database  # noqa: E402
from shop.app import app  # noqa: E402
from shop.models import Product  # noqa: E402


async def create() -> None:
    database = Database()
    await database.start(create_tables=Base.metadata)
    async with database.session() as session:
        session.add(Product(name="Lamp", price=20))
    await database.stop()


@pytest.fixture
def stored(address: str):
    """Return the names of the products, as another client reads them."""
    return lambda: httpx.get(f"{address}/products").json()


@pytest.fixture(scope="module")
def address():
    """Serve the application as in production, on a thread with an event loop of its own."""
    asyncio.run(create())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, Debian's."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def page(browser):
    opened = browser.new_page()
    opened.set_default_timeout(30_000)
    # Fonts and the like, which are elsewhere: a page would wait for them.
    opened.route(lambda url: not url.startswith("http://127.0.0.1"), lambda route: route.abort())
    yield opened
    opened.close()
