"""``Base``: a declarative base whose constraints have names."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    """Declare models on it: ``class User(Base)``. Any other declarative base works as well.

    Constraints get names, without which a migration cannot drop them, and SQLite cannot alter them:
    https://alembic.sqlalchemy.org/en/latest/naming.html
    """

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # What the server sets is fetched with the INSERT or UPDATE itself; fetched later, on access, it
    # would be I/O outside of an await: https://docs.sqlalchemy.org/en/20/errors.html#error-xd2s
    __mapper_args__: Any = {"eager_defaults": True}  # noqa: RUF012
