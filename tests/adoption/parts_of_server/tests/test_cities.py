"""The tests run on the server that the parts name."""

import os

from app.models import City


async def test_server_is_the_one_of_the_parts(asyncdb_database, asyncdb_client, asyncdb_session):
    """In a database of the worker, beside the one that is named."""
    asyncdb_session.add(City(name="Graz"))
    await asyncdb_session.commit()
    assert (await asyncdb_client.get("/cities")).json() == ["Graz"]
    url = asyncdb_database.engine.url
    found = (url.host, str(url.port), url.username)
    assert found == tuple(os.environ[f"TEST_DB_{part}"] for part in ("HOST", "PORT", "USER"))
