"""The tables."""

from sqlalchemy.orm import Mapped, mapped_column

from fastapi_asyncdb import Base

__all__ = ["Base", "City"]


class City(Base):
    __tablename__ = "cities"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
