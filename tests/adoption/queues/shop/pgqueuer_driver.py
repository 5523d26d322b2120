import re
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession


class SessionDriver:
    """Sends the statements of PgQueuer's ``Queries`` in the transaction of a session."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session

    async def fetch(self, query: str, *values: object) -> list[dict[str, Any]]:
        statement = text(re.sub(r"\$(\d+)", r"(:p\1)", query))
        parameters = {f"p{number}": value for number, value in enumerate(values, 1)}
        return [dict(row) for row in (await self.session.execute(statement, parameters)).mappings()]
