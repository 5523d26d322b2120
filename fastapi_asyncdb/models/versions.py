"""``VersionMixin``: an optimistic lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, event
from sqlalchemy.orm import Mapped, Mapper, mapped_column


class VersionMixin:
    """``version``: each UPDATE of an object compares it with the row's, and increments it.

    If the row was changed or deleted since the object was loaded, a flush that updates or deletes it
    raises ``sqlalchemy.orm.exc.StaleDataError``.
    https://docs.sqlalchemy.org/en/20/orm/versioning.html
    """

    # Without annotations at run time, which dataclasses and SQLModel would take for their fields.
    if TYPE_CHECKING:
        version: Mapped[int]
    else:
        # The defaults are for rows that no flush inserts: of insert(), and of other programs.
        version = mapped_column(
            Integer, nullable=False, insert_default=1, server_default="1", sort_order=903
        )


# A listener instead of __mapper_args__, which a class with its own does not inherit.
@event.listens_for(VersionMixin, "instrument_class", propagate=True)
def _use_version(mapper: Mapper[Any], class_: type[VersionMixin]) -> None:
    if mapper.inherits is None:
        mapper.version_id_col = mapper.local_table.c.version
