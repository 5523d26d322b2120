"""A table that was made from ``BigIntBase``, and its model afterwards."""

from sqlalchemy import BigInteger, Sequence
from sqlalchemy.orm import Mapped, mapped_column

from fastapi_asyncdb import Base


class Shelf(Base):
    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(BigInteger, Sequence("shelves_id_seq"), primary_key=True)
    name: Mapped[str]
