"""``Search``: words that clients look for, in several columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property, reduce
from typing import Annotated, Any

from pydantic import AfterValidator
from sqlalchemy import (
    Boolean,
    ColumnElement,
    SQLColumnExpression,
    String,
    and_,
    func,
    text,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from fastapi_asyncdb.data.filters.operators import OPERATORS
from fastapi_asyncdb.data.filters.parameters import Parameter, check_column
from fastapi_asyncdb.data.filters.values import Text
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.errors import ConfigurationError

MAX_WORDS = 20
"""The words of a search."""
_MINUSES = re.compile(r'-(?:[^\w"-]*-)+')
"""Several of "without" before one word. PostgreSQL puts each on a stack that has room for 32."""


class _ByDatabase(FunctionElement[bool]):
    """The first of two conditions where the database has full-text search, else the second."""

    type: TypeEngine[Any] = Boolean()
    inherit_cache: bool | None = True


@compiles(_ByDatabase)
def _choose(element: _ByDatabase, compiler: SQLCompiler, **options: Any) -> str:
    full_text, words = element.clauses
    backend = backend_of(compiler.dialect)
    chosen = full_text if backend is not None and backend.searches_text else words
    return compiler.process(chosen.self_group(), **options)


class Search:
    """Columns of text that clients may search.

    As ``search = Search(Post.title, Post.body)`` in a ``FilterSet`` it is the parameter ``search``. On
    PostgreSQL it is a full-text search, in the syntax of search engines: ``"exact words" or -without``.
    On other databases each word has to occur somewhere, in any case.
    https://www.postgresql.org/docs/current/textsearch-controls.html#TEXTSEARCH-PARSING-QUERIES

    Args:
        *columns: Attributes of the model.
        language: The text search configuration of PostgreSQL: ``"english"`` finds ``write`` in
            ``writing``; ``"simple"``, the default, finds words as they are.
    """

    def __init__(self, *columns: SQLColumnExpression[Any], language: str = "simple") -> None:
        if not columns or re.fullmatch(r"\w+(\.\w+)?", language) is None:
            raise ConfigurationError(
                f"A search needs columns and the name of a text search configuration. It has "
                f"{len(columns)} columns, and {language!r}. Write Search(Post.title, Post.body, "
                "language='english'); \\dF in psql lists the configurations."
            )
        self._columns: tuple[Any, ...] = columns
        # Constants are no parameters: the planner looks for an index with the same expression.
        self._configuration = text(f"'{language}'")

    @cached_property
    def _document(self) -> ColumnElement[str]:
        """The texts of all columns, as one."""
        texts: list[Any] = [func.coalesce(each, text("''"), type_=String) for each in self._columns]
        return reduce(lambda one, other: one.concat(text("' '")).concat(other), texts)

    @cached_property
    def vector(self) -> ColumnElement[Any]:
        """What PostgreSQL searches, for an index with ``postgresql_using="gin"``."""
        return func.to_tsvector(self._configuration, self._document)

    def parameters(self, name: str, mapper: Mapper[Any]) -> Iterator[Parameter]:
        """Yield the only parameter.

        Args:
            name: The name of the attribute.
            mapper: The mapper of the model.

        Raises:
            ConfigurationError: an attribute is not one of the model, or is no text.
        """
        for column in self._columns:
            check_column(column, mapper)
            if not OPERATORS["contains"].fits(column.type):
                raise ConfigurationError(
                    f"{column} has the type {column.type!r}, and only texts can be searched. Use a "
                    "Filter for other columns."
                )
        keys = ", ".join(f"`{column.key}`" for column in self._columns)
        yield Parameter(name, _Words, f"Words to be found in {keys}.", condition=self._condition)

    def _condition(self, value: str) -> ColumnElement[bool]:
        words = value.split()
        if not words:
            return true()
        query = func.websearch_to_tsquery(self._configuration, _MINUSES.sub("-", value))
        found = [self._document.icontains(word, autoescape=True) for word in words]
        return _ByDatabase(self.vector.bool_op("@@")(query), and_(*found))


def _few_words(value: str) -> str:
    if len(value.split()) > MAX_WORDS:
        raise ValueError(f"there are more than {MAX_WORDS} words")
    return value


_Words = Annotated[Text, AfterValidator(_few_words)]
