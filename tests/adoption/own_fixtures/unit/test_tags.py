import os
import unittest

from fastapi.testclient import TestClient

from app.main import Base, Tag, app, database, seed
from fastapi_asyncdb.testing import async_client, sandbox, sync_sandbox, temporary_database


def setUpModule():
    url = os.environ.get("TEST_DATABASE_URL")  # without it, a SQLite file
    made = temporary_database(database, url, metadata=Base.metadata, seed=seed)
    unittest.enterModuleContext(made)


class AsyncTests(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.session = await self.enterAsyncContext(sandbox(database))
        self.client = await self.enterAsyncContext(async_client(app))

    async def test_once(self):
        self.assertEqual((await self.client.post("/tags/new")).status_code, 201)
        self.assertIsNotNone(await self.session.get(Tag, "new"))

    async def test_again(self):
        self.assertEqual((await self.client.get("/tags")).json(), ["seeded"])
        self.assertEqual((await self.client.post("/tags/new")).status_code, 201)


class SyncTests(unittest.TestCase):
    def setUp(self):
        self.database = self.enterContext(sync_sandbox(database))
        self.client = self.enterContext(TestClient(app))

    def test_once(self):
        self.assertEqual(self.client.post("/tags/new").status_code, 201)
        self.assertEqual(self.database.run(lambda session: session.get(Tag, "new")).name, "new")

    def test_again(self):
        self.assertEqual(self.client.get("/tags").json(), ["seeded"])
        self.assertEqual(self.client.post("/tags/new").status_code, 201)
