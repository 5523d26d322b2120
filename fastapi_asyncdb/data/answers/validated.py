"""``rows``: rows of a statement as values of a schema, without objects of the ORM."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.answers.forms import form_of
from fastapi_asyncdb.data.answers.plan import name_of
from fastapi_asyncdb.data.answers.reader import plan_for, values_of
from fastapi_asyncdb.errors import ConfigurationError

S = TypeVar("S")


async def rows(session: AsyncSession, statement: Any, schema: type[S]) -> list[S]:
    """Return the rows of a statement as values of a schema, for code that goes on computing with them.

    Only the columns that the schema has are read. Relationships come with the same statement where the
    database builds JSON that equals Pydantic's; elsewhere they are loaded with one statement each, and
    objects of the ORM are made.

    Args:
        session: Any ``AsyncSession``.
        statement: A select of a mapped class or of columns; or ``insert()``, ``update()`` or
            ``delete()`` of a mapped class without ``returning()``, which is added.
        schema: That of one row: a Pydantic model, a dataclass, a ``TypedDict``; or the type of the only
            column, such as ``int``.

    Returns:
        All rows, in the order of the statement. There is no limit: a statement that may find many needs
        one, or ``answer.stream()``.

    Raises:
        pydantic.ValidationError: a row does not fit the schema.
        ConfigurationError: the mapped class has no attribute for a field that is required; the schema is
            a list or a page; the statement has a ``returning()``, or writes to a table instead of a
            mapped class; two fields read the same relationship, one has a ``Related``, and Pydantic
            validates objects.
    """
    if form_of(schema).kind not in ("one", "optional"):
        raise ConfigurationError(
            f"rows() returns a list of the schema, and {name_of(schema)} is one already, or a page. "
            "Pass the schema of a row, such as PostOut."
        )
    plan = await plan_for(session, statement, schema, "values")
    values: list[S] = await values_of(session, statement, plan)
    return values
