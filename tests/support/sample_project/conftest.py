"""All that a project of AnyIO's needs: SQLAlchemy's async engines run on asyncio."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
