"""``VersionMixin``: an optimistic lock."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Integer, event
from sqlalchemy.orm import Mapped, Mapper, mapped_column


class VersionMixin:
    """``version``, which each UPDATE of an object counts up and compares with the row's.

    A flush of an object whose row was changed or deleted since it was loaded raises
    ``sqlalchemy.orm.exc.StaleDataError``, and so does one that deletes it.
    https://docs.sqlalchemy.org/en/20/orm/versioning.html
    """

    # Without an annotation, which dataclasses and SQLModel would take for an argument of __init__.
    # The defaults are for rows that no flush inserts: of insert(), and of other programs.
    version = cast(
        "Mapped[int]",
        mapped_column(
            Integer, nullable=False, insert_default=1, server_default="1", sort_order=903
        ),
    )


# A listener instead of __mapper_args__, which a class with its own does not inherit.
@event.listens_for(VersionMixin, "instrument_class", propagate=True)
def _use_version(mapper: Mapper[Any], class_: type[VersionMixin]) -> None:
    if mapper.inherits is None:
        mapper.version_id_col = mapper.local_table.c.version
