"""Points in time: a type that is aware on every database, and the columns of ``TimestampMixin``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeDecorator, TypeEngine

from fastapi_asyncdb.dialects.registry import family_of

# What CURRENT_TIMESTAMP is on the databases where it is something else.
_NOW = {
    "sqlite": "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
    "mysql": "(UTC_TIMESTAMP(6))",
}


class UTCDateTime(TypeDecorator[datetime]):
    """A ``DateTime(timezone=True)`` whose values are aware, and in UTC, on every database.

    SQLite and MySQL have no type for points in time that fits, so that they are stored there in UTC and
    without a time zone: https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#date-and-time-types

    A naive ``datetime`` is a ``ValueError``, which SQLAlchemy wraps in a ``StatementError``.
    """

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = DateTime
    cache_ok: bool | None = True

    def __init__(self) -> None:
        super().__init__(timezone=True)

    def __repr__(self) -> str:
        return "UTCDateTime()"

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return MySQL's and MariaDB's type with microseconds, where ``DateTime`` has none there.

        https://dev.mysql.com/doc/refman/8.4/en/fractional-seconds.html
        """
        if family_of(dialect.name) != "mysql":
            return super().load_dialect_impl(dialect)
        # Imported here: most applications have another database.
        from sqlalchemy.dialects.mysql import DATETIME

        return dialect.type_descriptor(DATETIME(timezone=True, fsp=6))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert an aware value to UTC.

        Raises:
            ValueError: it is naive.
        """
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(
                f"{value!r} has no time zone, so it is no point in time. It probably comes from "
                "datetime.now() or datetime.utcnow(), or from a text without an offset. Use "
                "datetime.now(UTC), or value.replace(tzinfo=...) with the time zone that is meant."
            )
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return a value in UTC: without a time zone is how SQLite and MySQL store it."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def coerce_compared_value(self, op: OperatorType | None, value: Any) -> TypeEngine[Any]:
        """Compare with a point in time as this type; add or compare others as ``DateTime`` does."""
        if isinstance(value, datetime):
            return self
        return self.impl_instance.coerce_compared_value(op, value)


class utcnow(FunctionElement[datetime]):  # noqa: N801 - in SQL it is a function
    """The time of the server, for ``server_default``.

    On SQLite, which compares texts, it has the form in which SQLAlchemy writes a ``datetime``;
    ``CURRENT_TIMESTAMP`` has another one there. On MySQL it is in UTC, whatever the time zone of the
    connection.
    """

    type: TypeEngine[datetime] = UTCDateTime()
    inherit_cache: bool | None = True


@compiles(utcnow)
def _current_timestamp(element: utcnow, compiler: SQLCompiler, **options: Any) -> str:
    return _NOW.get(family_of(compiler.dialect.name), "CURRENT_TIMESTAMP")


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


class TimestampMixin:
    """``created_at`` and ``updated_at``, which the application sets when it flushes an object.

    So they can be read after an UPDATE without a query. ``insert()`` and ``update()`` set them as well.
    In an INSERT of another program they are the time of the server; its UPDATE leaves ``updated_at``.
    """

    # Without annotations at run time, which dataclasses and SQLModel would take for their fields.
    if TYPE_CHECKING:
        created_at: Mapped[datetime]
        updated_at: Mapped[datetime]
    else:
        created_at = mapped_column(
            UTCDateTime(),
            nullable=False,
            insert_default=now,
            server_default=utcnow(),
            sort_order=900,
        )
        updated_at = mapped_column(
            UTCDateTime(),
            nullable=False,
            insert_default=now,
            onupdate=now,
            server_default=utcnow(),
            sort_order=901,
        )
