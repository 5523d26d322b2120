"""``rows``: rows of a statement as values of a schema, without objects of the ORM."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.answers.reader import plan_for, values_of

S = TypeVar("S")


async def rows(session: AsyncSession, statement: Any, schema: type[S]) -> list[S]:
    """Return the rows of a statement as values of a schema, for code that goes on computing with them.

    Only the columns that the schema has are read, and no object of the ORM is made. Relationships come
    with the same statement where the database can build their JSON, else with one statement each.

    Args:
        session: Any session.
        statement: A select of a mapped class or of columns; or ``insert()``, ``update()`` or
            ``delete()`` of a mapped class without ``returning()``, which is added.
        schema: A Pydantic model, a dataclass or a ``TypedDict``.

    Returns:
        The values, in the order of the statement.

    Raises:
        pydantic.ValidationError: a row does not fit the schema.
        ConfigurationError: the mapped class has no attribute for a field that is required.
    """
    plan = plan_for(session, statement, schema, "values")
    values: list[S] = await values_of(session, statement, plan)
    return values
