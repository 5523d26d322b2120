"""Constraints without a name, and types of the project's own, in new revisions."""

from pathlib import Path

import pytest

from fastapi_asyncdb.errors import MigrationFailed
from fastapi_asyncdb.models import Base
from tests.support.databases import ONE_DRIVER
from tests.support.migration_project import MigrationProject, migration_project

BEFORE = """
    from sqlalchemy import ForeignKey
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


    class Base(DeclarativeBase):
        pass


    class User(Base):
        __tablename__ = "users"

        id: Mapped[int] = mapped_column(primary_key=True)


    class Post(Base):
        __tablename__ = "posts"

        id: Mapped[int] = mapped_column(primary_key=True)
        user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
"""


@pytest.fixture
async def project(tmp_path: Path, database_url: str) -> MigrationProject:
    """A project that had a foreign key without a name, which its models have lost."""
    project = migration_project(tmp_path, database_url, models=BEFORE)
    await project.migrator().revision("first")
    await project.migrator().upgrade()
    project.write(f"{project.package}/later.py", BEFORE.replace('ForeignKey("users.id")', ""))
    project.write("pyproject.toml", f'[tool.fastapi-asyncdb]\nmetadata = "{project.package}.later"')
    return project


@pytest.mark.databases("sqlite")
@pytest.mark.filterwarnings("ignore:Autogenerate rendered a drop_constraint")
async def test_constraint_without_a_name(project: MigrationProject):
    """The message leads to the page, whose way works."""
    assert await project.migrator().differences() == [
        "posts: fk on user_id is only in the database"
    ]
    path = await project.migrator().revision("second")
    assert path is not None
    with pytest.raises(MigrationFailed, match=r"naming convention.*#names-of-constraints"):
        await project.migrator().upgrade()
    as_documented = f"""
        with op.batch_alter_table("posts", naming_convention={Base.metadata.naming_convention!r}) as b:
            b.drop_constraint("fk_posts_user_id_users", type_="foreignkey")
    """
    before = (await project.migrator().current())[0]
    path.unlink()
    project.revision("second", before, as_documented)
    await project.migrator().upgrade()
    assert await project.migrator().differences() == []


@pytest.mark.databases("postgresql-asyncpg")
async def test_name_that_postgresql_has_given(project: MigrationProject):
    """It is in the revision."""
    path = await project.migrator().revision("second")
    assert path is not None
    assert "'posts_user_id_fkey'" in path.read_text()
    await project.migrator().upgrade()
    assert await project.migrator().differences() == []


@pytest.mark.databases(*ONE_DRIVER)
async def test_types_of_the_project(tmp_path: Path, database_url: str):
    """A type of the project's own, also inside of another, is written with its import."""
    project = migration_project(tmp_path, database_url)
    project.write(
        f"{project.package}/types.py",
        """
        from sqlalchemy import String, TypeDecorator


        class Money(TypeDecorator):
            impl = String(20)
            cache_ok = True
        """,
    )
    project.write(
        f"{project.package}/models.py",
        f"""
        from sqlalchemy import JSON, Column, Integer, MetaData, Table
        from sqlalchemy.dialects import postgresql
        from {project.package}.types import Money

        metadata = MetaData()
        table = Table(
            "prices",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("price", Money, server_default="1 EUR"),
            Column("data", JSON().with_variant(postgresql.JSONB(), "postgresql")),
        )
        """,
    )
    path = await project.migrator().revision("first")
    assert path is not None
    assert f"import {project.package}.types\n" in path.read_text()
    await project.migrator().upgrade()
    assert await project.migrator().differences() == []
    await project.migrator().downgrade("base")
