import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from fastapi_asyncdb import Base
from fastapi_asyncdb.testing import redis_server

servers = ExitStack()
os.environ["CELERY_BROKER_URL"] = servers.enter_context(redis_server()).url()
os.environ["DATABASE_URL"] = os.environ["ADOPTION_DATABASE_URL"]
os.environ["DATABASE_ENVIRONMENT"] = "test"

from shop.database import database  # noqa: E402


def pytest_unconfigure() -> None:
    servers.close()


async def create_tables() -> None:
    await database.start(create_tables=Base.metadata)
    await database.stop()


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker with two processes, and a look at its log when it has ended."""
    database.run(create_tables)
    log = tmp_path_factory.mktemp("worker") / "log"
    command = [sys.executable, "-m", "celery", "-A", "shop.broker:celery", "worker"]
    options = ["--pool=prefork", "--concurrency=2", "--without-mingle", "--without-gossip"]
    with (
        log.open("w") as output,
        subprocess.Popen([*command, *options], stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        yield
        process.send_signal(signal.SIGTERM)  # a warm shutdown
        process.wait(timeout=30)
    if "Traceback" in log.read_text() or process.returncode:
        pytest.fail(log.read_text())
