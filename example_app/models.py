"""The tables. Migrations create them: see ``migrations/versions``."""

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from fastapi_asyncdb import Base, SoftDeleteMixin, TimestampMixin, VersionMixin


class User(Base):
    """An author of posts and an owner of accounts."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str] = mapped_column(String(254), unique=True)


class Post(SoftDeleteMixin, VersionMixin, TimestampMixin, Base):
    """A text by a user. A deleted one stays in the table and can be restored."""

    __tablename__ = "posts"
    __table_args__ = (Index("ix_posts_created_at", "created_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    summary: Mapped[str | None] = mapped_column(String(500))
    body: Mapped[str] = mapped_column(Text)

    # Loaded by the query that needs it: a lazy load would be I/O outside of an await.
    author: Mapped[User] = relationship()


class Account(Base):
    """Money of a user, in cents. A constraint refuses a negative balance."""

    __tablename__ = "accounts"
    __table_args__ = (CheckConstraint("balance >= 0", name="balance_not_negative"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    balance: Mapped[int] = mapped_column(BigInteger)
