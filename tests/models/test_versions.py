"""An optimistic lock: what was changed since it was loaded is not overwritten."""

from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, String, inspect
from sqlalchemy.orm import Mapped, configure_mappers, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from fastapi_asyncdb import Base, Database, VersionMixin
from tests.models.tables import create


class Own(Base):
    __abstract__ = True
    metadata = MetaData()


class Account(VersionMixin, Own):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), default="account")
    balance: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {  # noqa: RUF012
        "polymorphic_on": "kind",
        "polymorphic_identity": "account",
    }


class Savings(Account):
    __tablename__ = "savings"
    id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    rate: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {"polymorphic_identity": "savings"}  # noqa: RUF012


class Last(Own, VersionMixin):
    """The mixin may come after the base."""

    __tablename__ = "last"
    id: Mapped[int] = mapped_column(primary_key=True)


def test_arguments_of_the_mapper_combine():
    """Those of the mixin, of ``Base`` and of the class itself; whichever comes first."""
    configure_mappers()
    for class_ in (Account, Savings, Last):
        mapper: Any = inspect(class_)
        assert mapper.version_id_col.name == "version"
        assert mapper.eager_defaults is True
    assert inspect(Savings).polymorphic_identity == "savings"


async def test_version_is_counted_up(database: Database):
    """By each flush that changes the object; it can be read at once."""
    await create(database, Own.metadata)
    async with database.session() as session:
        account = Account(id=1)
        session.add(account)
        await session.flush()
        assert account.version == 1
        account.balance = 5
        await session.flush()
        assert account.version == 2


@pytest.mark.parametrize("class_", [Account, Savings])
@pytest.mark.parametrize("deletes", [False, True], ids=["update", "delete"])
async def test_stale_object_is_not_flushed(
    database: Database, class_: type[Account], deletes: bool
):
    """Neither its UPDATE nor its DELETE: the row has changed since it was loaded."""
    await create(database, Own.metadata)
    async with database.session() as session:
        session.add(class_(id=1))
    async with database.read_session() as reader:
        stale = await reader.get_one(class_, 1)
        reader.expunge(stale)
    async with database.session() as session:
        (await session.get_one(class_, 1)).balance = 100
    with pytest.raises(StaleDataError):
        async with database.session() as session:
            session.add(stale)
            if deletes:
                await session.delete(stale)
            else:
                stale.balance = 1
    async with database.read_session() as reader:
        assert (await reader.get_one(class_, 1)).balance == 100
