"""A museum: mapped classes that together have all kinds of attributes and relationships."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Column,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Table,
    func,
    select,
)
from sqlalchemy.ext.associationproxy import association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase,
    attribute_keyed_dict,
    column_property,
    composite,
    mapped_column,
    relationship,
    synonym,
)

from fastapi_asyncdb import SoftDeleteMixin
from tests.data.answers.museum.columns import AllColumns, column
from tests.support.mysql_types import WORD


class Base(DeclarativeBase):
    pass


def key(*arguments: Any) -> Any:
    """Return a primary key whose values the tests give."""
    return mapped_column(Integer, *arguments, primary_key=True, autoincrement=False)


def link(target: str, *, nullable: bool = True, **options: Any) -> Any:
    """Return a foreign key."""
    return mapped_column(ForeignKey(target), nullable=nullable, **options)


exhibit_tag = Table(
    "exhibit_tag",
    Base.metadata,
    Column("exhibit_id", ForeignKey("exhibit.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
    Column("rank", Integer, info={"kind": "rank"}, nullable=False, default=0),
)
similar = Table(
    "similar",
    Base.metadata,
    Column("one_id", ForeignKey("exhibit.id")),
    Column("other_id", ForeignKey("exhibit.id")),
)


class Room(Base):
    """Self-referential; the parent of most."""

    __tablename__ = "room"
    id = key()
    name = column("word")
    floor = column("small", nullable=True)
    hidden = column("text", nullable=True, deferred=True)
    parent_id = link("room.id")
    parent = relationship("Room", remote_side="Room.id", viewonly=True)
    children = relationship("Room", order_by="Room.id", viewonly=True)
    exhibits = relationship("Exhibit", order_by="Exhibit.id", viewonly=True)
    exhibit_set = relationship("Exhibit", collection_class=set, viewonly=True)
    exhibits_by_id = relationship(
        "Exhibit", collection_class=attribute_keyed_dict("id"), viewonly=True
    )
    flagged = relationship(
        "Exhibit",
        primaryjoin="and_(Room.id == Exhibit.room_id, Exhibit.flag.is_(True))",
        order_by="Exhibit.id.desc()",
        viewonly=True,
    )
    visits = relationship("Visit", order_by="Visit.visitor_id", viewonly=True)
    members = relationship(
        "Member",
        secondary="visit",
        order_by="Member.id",
        viewonly=True,
    )
    pieces = relationship("Piece", order_by="Piece.id", viewonly=True)
    paintings = relationship("Painting", order_by="Painting.id", viewonly=True)
    title = synonym("name")
    louder = column_property(func.upper(name.column))

    @property
    def shown(self) -> str:
        return f"{self.name}!"

    @hybrid_property
    def is_high(self) -> bool:
        return self.floor is not None and self.floor > 1


class Tag(Base):
    __tablename__ = "tag"
    id = key()
    name = column("word")
    rank = column("number", nullable=True)
    exhibits = relationship("Exhibit", secondary=exhibit_tag, order_by="Exhibit.id", viewonly=True)


class Keeper(SoftDeleteMixin, Base):
    """Marked as deleted, some of them."""

    __tablename__ = "keeper"
    id = key()
    name = column("word", nullable=True)
    boss_id = link("keeper.id")
    boss = relationship("Keeper", remote_side="Keeper.id", viewonly=True)
    team = relationship("Keeper", order_by="Keeper.id", viewonly=True)
    exhibits = relationship("Exhibit", order_by="Exhibit.id", viewonly=True)
    notes = relationship("Note", order_by="Note.id", viewonly=True)


class Exhibit(AllColumns, Base):
    """All types of columns, and most kinds of relationships."""

    __tablename__ = "exhibit"
    id = key()
    renamed = column("word", name="another_name", nullable=True)
    heavy = column("text", nullable=True, deferred=True)
    room_id = link("room.id")
    keeper_id = link("keeper.id")
    first_tag_id = link("tag.id", nullable=False)
    room = relationship("Room", viewonly=True)
    keeper = relationship("Keeper", viewonly=True)
    first_tag = relationship("Tag", viewonly=True)
    tags = relationship("Tag", secondary=exhibit_tag, order_by=Tag.id, viewonly=True)
    unordered_tags = relationship("Tag", secondary=exhibit_tag, viewonly=True)
    ranked_tags = relationship(
        "Tag", secondary=exhibit_tag, order_by=exhibit_tag.c.rank, viewonly=True
    )
    notes = relationship("Note", order_by="Note.id", viewonly=True)
    insurance = relationship("Insurance", uselist=False, viewonly=True)
    similar = relationship(
        "Exhibit",
        secondary=similar,
        primaryjoin="Exhibit.id == similar.c.one_id",
        secondaryjoin="Exhibit.id == similar.c.other_id",
        order_by="Exhibit.id",
        viewonly=True,
    )
    on_my_floor = relationship(
        "Room",
        primaryjoin="foreign(Exhibit.small) == remote(Room.floor)",
        uselist=True,
        order_by=Room.id,
        viewonly=True,
    )
    below = relationship(
        "Room",
        primaryjoin="and_(foreign(Exhibit.small) > remote(Room.floor), remote(Room.name) != '')",
        uselist=True,
        order_by=Room.id,
        viewonly=True,
    )
    eager = relationship("Insurance", uselist=False, lazy="joined", viewonly=True)
    tag_names = association_proxy("tags", "name")
    words = synonym("word")


class Note(SoftDeleteMixin, Base):
    __tablename__ = "note"
    id = key()
    text = column("text")
    exhibit_id = link("exhibit.id", nullable=False)
    keeper_id = link("keeper.id", nullable=False)
    exhibit = relationship("Exhibit", viewonly=True)
    keeper = relationship("Keeper", viewonly=True)


class Insurance(Base):
    __tablename__ = "insurance"
    id = key()
    value = column("price", nullable=True)
    exhibit_id = link("exhibit.id", nullable=False, unique=True)
    exhibit = relationship("Exhibit", viewonly=True)


@dataclass
class Size:
    """A composite of two columns."""

    width: int | None
    height: int | None


class Showcase(Base):
    """Has a composite, a hybrid property and a column that the database computes."""

    __tablename__ = "showcase"
    id = key()
    width = column("small", nullable=True)
    height = column("small", nullable=True)
    doubled = mapped_column(Integer, Computed("width * 2", persisted=True))
    room_id = link("room.id")
    size = composite(Size, "width", "height")
    room = relationship("Room", viewonly=True)

    @hybrid_property
    def area(self) -> int:
        return (self.width or 0) * (self.height or 0)


class Piece(Base):
    """Joined-table inheritance."""

    __tablename__ = "piece"
    id = key()
    kind = mapped_column(WORD, nullable=False)
    title = column("word")
    room_id = link("room.id")
    room = relationship("Room", viewonly=True)
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "piece"}  # noqa: RUF012


class Painting(Piece):
    __tablename__ = "painting"
    id = key(ForeignKey("piece.id"))
    painter = column("word", nullable=True)
    colors = column("number")
    copied_id = link("exhibit.id")
    copied = relationship("Exhibit", viewonly=True)
    __mapper_args__ = {"polymorphic_identity": "painting"}  # noqa: RUF012


class Sculpture(Piece):
    __tablename__ = "sculpture"
    id = key(ForeignKey("piece.id"))
    mass = column("double", nullable=True)
    __mapper_args__ = {"polymorphic_identity": "sculpture"}  # noqa: RUF012


class Visitor(Base):
    """Single-table inheritance."""

    __tablename__ = "visitor"
    id = key()
    kind = mapped_column(WORD, nullable=False)
    name = column("word")
    visits = relationship("Visit", order_by="Visit.room_id", viewonly=True)
    rooms = association_proxy("visits", "room")
    __mapper_args__ = {"polymorphic_on": kind, "polymorphic_identity": "visitor"}  # noqa: RUF012


class Member(Visitor):
    since = column("day", nullable=True)
    guests = relationship("Guest", order_by="Guest.id", viewonly=True)
    __mapper_args__ = {"polymorphic_identity": "member"}  # noqa: RUF012


class Guest(Visitor):
    host_id = link("visitor.id", use_existing_column=True)
    host = relationship("Member", remote_side="Member.id", viewonly=True)
    __mapper_args__ = {"polymorphic_identity": "guest"}  # noqa: RUF012


class Visit(Base):
    """A key of two columns."""

    __tablename__ = "visit"
    visitor_id = key(ForeignKey("visitor.id"))
    room_id = key(ForeignKey("room.id"))
    rating = column("small", nullable=True)
    visitor = relationship("Visitor", viewonly=True)
    room = relationship("Room", viewonly=True)
    stamps = relationship("Stamp", order_by="Stamp.id", viewonly=True)


class Stamp(Base):
    """A foreign key of two columns."""

    __tablename__ = "stamp"
    id = key()
    visitor_id = mapped_column(Integer, nullable=False)
    room_id = mapped_column(Integer, nullable=False)
    color = column("color")
    visit = relationship("Visit", viewonly=True)
    __table_args__ = (
        ForeignKeyConstraint(["visitor_id", "room_id"], ["visit.visitor_id", "visit.room_id"]),
    )


class Crowd(Base):
    """Mapped to a subquery."""

    __table__ = (
        select(Visit.room_id.label("id"), func.count().label("visitors"))
        .group_by(Visit.room_id)
        .subquery("crowd")
    )
    __mapper_args__ = {"primary_key": [__table__.c.id]}  # noqa: RUF012
    room = relationship("Room", primaryjoin="foreign(Crowd.id) == Room.id", viewonly=True)
