import os

import pytest
from sqlalchemy import make_url

url = make_url(os.environ["ADOPTION_DATABASE_URL"])
os.environ["DATABASE_URL"] = url.render_as_string(hide_password=False)
os.environ["DATABASE_ENVIRONMENT"] = "test"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
