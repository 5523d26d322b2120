"""Statements that write: what they write to, what their database returns, and what is related to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Delete, Insert, Update, inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.interfaces import LoaderOption

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.session.managed import execute

Write = Insert | Update | Delete
_BATCH = 500
"""How many keys a statement has: the number of its parameters is limited."""


def written_class(statement: Write) -> type[Any]:
    """Return the mapped class that a statement writes to.

    Raises:
        ConfigurationError: it writes to a table, or has a RETURNING of its own.
    """
    model: Any = statement.entity_description.get("entity")
    if list(statement.exported_columns):
        raise ConfigurationError(
            "The statement has a returning() of its own, and an answer adds what the schema has: "
            "leave it out."
        )
    if isinstance(model, type):
        return model
    raise ConfigurationError(
        f"The statement writes to the table '{statement.table}', and an answer is made of a mapped "
        "class: write insert(Post), with the class, instead of its table."
    )


async def check_returning(session: AsyncSession, statement: Write) -> None:
    """Check that the database can return what a statement writes.

    Raises:
        ConfigurationError: it cannot.
    """
    dialect = session.get_bind(clause=statement).dialect
    verb = statement.__visit_name__
    if not getattr(dialect, f"{verb}_returning"):
        await session.connection()  # the first tells SQLAlchemy which server it is
    if not getattr(dialect, f"{verb}_returning"):
        raise ConfigurationError(
            f"The database ({dialect.name}) has no {verb.upper()} ... RETURNING, which an answer needs. "
            "Execute the statement, and answer a select() of what it wrote."
        )


async def load_related(
    session: AsyncSession,
    model: type[Any],
    objects: Sequence[Any],
    options: Sequence[LoaderOption],
) -> None:
    """Load the relationships of objects that were written, with as many statements for all of them."""
    table: Any = inspect(model).selectable
    for start in range(0, len(objects), _BATCH):
        keys = [inspect(each).identity for each in objects[start : start + _BATCH]]
        written = select(table).where(tuple_(*inspect(model).primary_key).in_(keys))
        # By from_statement no filter is added to it, as one that hides rows which are deleted softly.
        query = select(model).from_statement(written).options(*options)
        await execute(session, query.execution_options(populate_existing=True))
