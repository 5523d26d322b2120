"""What a filter set may declare; what it must not is a ConfigurationError when the class is made."""

from types import new_class
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import Field, TypeAdapter, ValidationError
from sqlalchemy import (
    ARRAY,
    JSON,
    Float,
    Integer,
    Interval,
    LargeBinary,
    String,
    TypeDecorator,
    func,
)
from sqlalchemy import Uuid as SQLUuid
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, column_property, mapped_column
from sqlmodel import Field as SQLField
from sqlmodel import SQLModel, col

from fastapi_asyncdb import AnyOf, Filter, FilterSet, OrderBy, Search
from fastapi_asyncdb.errors import ConfigurationError
from tests.data.blog import Comment, Post, PostFilter, Writer


class Lower(TypeDecorator[str]):
    """Converts its values."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value.lower()


class Named(TypeDecorator[str]):
    """Has the values of its type."""

    impl = String
    cache_ok = True


class Base(DeclarativeBase):
    pass


class Odd(Base):
    """Columns of the less usual types."""

    __tablename__ = "odd"
    id: Mapped[int] = mapped_column(primary_key=True)
    lower: Mapped[str] = mapped_column(Lower)
    named: Mapped[str] = mapped_column(Named)
    data: Mapped[Any] = mapped_column(JSON)
    blob: Mapped[bytes] = mapped_column(LargeBinary)
    length: Mapped[Any] = mapped_column(Interval)
    numbers: Mapped[Any] = mapped_column(ARRAY(Integer))
    folded: Mapped[str] = mapped_column(postgresql.CITEXT)
    single: Mapped[float] = mapped_column(Float(24))
    key: Mapped[str] = mapped_column(SQLUuid(as_uuid=False))
    size: Mapped[int] = column_property(func.length(named, type_=Integer))


class Hero(SQLModel, table=True):
    __tablename__ = "filtered_hero"  # pyright: ignore[reportAssignmentType]
    id: int | None = SQLField(default=None, primary_key=True)
    name: str


def declare(model: Any, **declared: Any) -> type[FilterSet[Any]]:
    """Return a filter set with declarations."""
    return new_class("Declared", (FilterSet[model],), {}, lambda names: names.update(declared))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "column of another model": (
        {"a": Filter(Writer.name)},
        "attribute of Writer, where one of Post",
    ),
    "expression": ({"a": Filter(func.lower(Post.title))}, "no attribute of a mapped class"),
    "column of an alias": ({"a": Filter(aliased(Post).title)}, "attribute of an alias"),
    "path of an alias": (
        {"a": Filter(Writer.name, through=aliased(Post).writer)},
        "attribute of an alias",
    ),
    "column of the table": (
        {"a": Filter(Post.__table__.c.title)},
        "no attribute of a mapped class",
    ),
    "unknown operator": ({"a": Filter(Post.title, "like")}, "no operator 'like'"),  # type: ignore[arg-type]
    "text operator": ({"a": Filter(Post.views, "contains")}, "has no operator 'contains'"),
    "order of an enum": ({"a": Filter(Post.status, "lt")}, "has no operator 'lt'"),
    "text of an enum": ({"a": Filter(Post.status, "contains")}, "has no operator 'contains'"),
    "path that begins elsewhere": (
        {"a": Filter(Writer.name, through=Comment.writer)},
        "attribute of Comment, where one of Post",
    ),
    "path that ends elsewhere": (
        {"a": Filter(Comment.text, through=Post.writer)},
        "attribute of Comment, where one of Writer",
    ),
    "path of columns": ({"a": Filter(Writer.name, through=Post.title)}, "no relationship"),
    "relationship as a column": ({"a": Filter(Post.writer)}, "may be a relationship"),
    "relationship in an order": ({"a": OrderBy(Post.writer)}, "may be a relationship"),
    "two underscores": ({"a__b": Filter(Post.title)}, "cannot declare 'a__b'"),
    "private name": ({"_a": Filter(Post.title)}, "cannot declare '_a'"),
    "name of a method": ({"apply": Filter(Post.title)}, "cannot declare 'apply'"),
    "name of an attribute": ({"values": Filter(Post.title)}, "cannot declare 'values'"),
    "keyword": ({"class": Filter(Post.title)}, "cannot declare 'class'"),
    "no columns of an order": ({"a": OrderBy()}, "there are none"),
    "unknown default": ({"a": OrderBy(Post.views, default="title")}, "default 'title'"),
    "order of another model": ({"a": OrderBy(Writer.name)}, "attribute of Writer"),
    "two orders": ({"a": OrderBy(Post.id), "b": OrderBy(Post.id)}, "several orders: a, b"),
    "search of numbers": ({"a": Search(Post.views)}, "only texts"),
    "search of an enum": ({"a": Search(Post.status)}, "only texts"),
    "search of another model": ({"a": Search(Writer.name)}, "attribute of Writer"),
    "a constructor": ({"__init__": lambda self: None}, "an __init__ of its own"),
    "alternatives of nothing": ({"a": AnyOf()}, "which has none"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name: str):
    """With the fact, its cause and the next step, when the class is made."""
    declared, message = REFUSED[name]
    with pytest.raises(ConfigurationError, match=message):
        declare(Post, **declared)


def test_types_that_are_not_known_need_a_type():
    """What clients may send is not guessed."""
    for name in ("lower", "data", "blob", "length", "numbers"):
        column = getattr(Odd, name)
        with pytest.raises(ConfigurationError, match="is not known"):
            declare(Odd, a=Filter(column))
        declare(Odd, a=Filter(column, type=Annotated[str, Field(max_length=9)]))
        declare(Odd, a=Filter(column, "is_null"))


def test_types_of_other_kinds_are_known():
    """Of a TypeDecorator without a conversion, of PostgreSQL, of an expression that is mapped."""
    filters = declare(
        Odd,
        named=Filter(Odd.named, "contains"),
        folded=Filter(Odd.folded, "icontains"),
        single=Filter(Odd.single),
        key=Filter(Odd.key),
        size=Filter(Odd.size, "ge"),
    )
    conditions = filters(size__ge=3, key=str(UUID(int=1))).where
    assert [str(each) for each in conditions] == [
        "length(odd.named) >= :param_1",
        "odd.key = :key_1",
    ]


@pytest.mark.parametrize("language", ["'", "english'", "", "a b", "a.b.c", "a;"])
def test_the_language_of_a_search_is_a_name(language: str):
    """It is a part of the statement."""
    with pytest.raises(ConfigurationError, match="name of a text search configuration"):
        Search(Post.title, language=language)
    with pytest.raises(ConfigurationError, match="0 columns"):
        Search()


@pytest.mark.parametrize("text", ["\0", "\ud800", "a" * 1001])
def test_texts_are_what_every_database_can_have(text: str):
    """No query string has a lone surrogate; other sources of text do."""
    kind: Any = PostFilter._parameters["title"].type
    values = TypeAdapter[str](kind)
    assert values.validate_python("\U0010ffff") == "\U0010ffff"
    with pytest.raises(ValidationError):
        values.validate_python(text)


def test_a_set_without_a_model_is_refused():
    """It cannot know which columns are its own."""
    with pytest.raises(ConfigurationError, match=r"class Unnamed\(FilterSet\[Post\]\)"):

        class Unnamed(FilterSet):  # type: ignore[type-arg]
            title = Filter(Post.title)


def test_a_set_of_a_model_of_sqlmodel():
    """Its texts have a type of their own."""

    class HeroFilter(FilterSet[Hero]):
        name = Filter(col(Hero.name), "eq", "startswith")
        order_by = OrderBy(col(Hero.name))

    assert list(HeroFilter._parameters) == ["name", "name__startswith", "order_by"]
