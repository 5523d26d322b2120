import pytest

from app.main import database
from fastapi_asyncdb import DatabaseSettings


async def test_unlabelled(started): ...


def test_unlabelled_in_module_scope(client): ...


@pytest.fixture
async def early(tmp_path):
    async with database:
        yield


class TestLabelled:
    @pytest.fixture
    async def early(self, tmp_path, monkeypatch):
        settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'a.db'}")
        await database.start(settings)
        yield
        await database.stop()

    async def test_order(self, early, asyncdb_session): ...

    def test_order_of_plain_functions(self, early_too, asyncdb_test_client): ...

    @pytest.fixture
    def early_too(self, tmp_path):
        import asyncio

        settings = DatabaseSettings(url=f"sqlite:///{tmp_path / 'a.db'}")
        with asyncio.Runner() as runner:
            runner.run(database.start(settings))
            yield
            runner.run(database.stop())
