"""``Base``: a declarative base for asynchronous sessions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import MetaData, String, event
from sqlalchemy.orm import DeclarativeBase, Mapper, RelationshipProperty

from fastapi_asyncdb.models.datetimes import UTCDateTime


class Base(DeclarativeBase):
    """Declare models on it: ``class User(Base)``. Any other declarative base works as well.

    - Constraints have names, without which a migration cannot drop them, and SQLite cannot alter them:
      https://alembic.sqlalchemy.org/en/latest/naming.html
    - ``Mapped[datetime]`` is a :class:`UTCDateTime`.
    - ``Mapped[str]`` has 255 characters on MySQL and MariaDB, where VARCHAR needs a length; give others
      with ``mapped_column(String(50))`` or ``mapped_column(Text)``.
    - Values that the server makes are fetched with the INSERT or UPDATE itself (``eager_defaults``).
    - A relationship that was not loaded raises ``InvalidRequestError`` when it is read
      (``lazy="raise_on_sql"``), unless it has a ``lazy`` of its own; ``lazy=True`` is SQLAlchemy's
      default. One that is added to a class that is in use already keeps SQLAlchemy's default.
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
    type_annotation_map: ClassVar[Mapping[Any, Any]] = {
        datetime: UTCDateTime(),
        str: String().with_variant(String(255), "mysql", "mariadb"),
    }


# Listeners instead of __mapper_args__, which a class with its own does not inherit.
@event.listens_for(Base, "before_mapper_configured", propagate=True)
def _load_within_awaits(mapper: Mapper[Any], class_: type[Any]) -> None:
    """Load on access nothing that this could be done for in an await: that would be I/O outside of it.

    https://docs.sqlalchemy.org/en/20/errors.html#error-xd2s
    """
    if mapper.eager_defaults == "auto":
        mapper.eager_defaults = True
    for attribute in mapper.iterate_properties:
        if isinstance(attribute, RelationshipProperty):
            _raise_on_lazy_access(attribute)


def _raise_on_lazy_access(relationship: RelationshipProperty[Any]) -> None:
    if relationship.lazy == "select":
        relationship.lazy = "raise_on_sql"
        relationship.strategy_key = (("lazy", "raise_on_sql"),)
    # The other side is made from this one, perhaps after its class was configured.
    if isinstance(relationship.backref, str):
        relationship.backref = (relationship.backref, {"lazy": "raise_on_sql"})
    elif relationship.backref is not None:
        name, options = relationship.backref
        relationship.backref = (name, {"lazy": "raise_on_sql", **options})
