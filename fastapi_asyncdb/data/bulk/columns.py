"""``ModelTable``: the table of a model, and the columns that rows of values fill, by attribute."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel
from sqlalchemy import Column, ColumnElement, Table, inspect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import ColumnProperty, Mapper, QueryableAttribute

from fastapi_asyncdb.data.values import Values, next_version, values_of

M = TypeVar("M")

Attribute = str | QueryableAttribute[Any]
"""An attribute of a model, or its name."""

_KNOWN = 1000


class Row(NamedTuple):
    """The values of one row."""

    values: Mapping[str, Any]
    """By attribute."""
    names: frozenset[str]
    """The attributes."""
    given: frozenset[str]
    """Those that the caller has given: not what a Pydantic model has by default."""


class ModelTable(Generic[M]):
    """The one table that the instances of a model are stored in.

    Args:
        model: A mapped class.

    Raises:
        TypeError: it is none, or its instances are stored in more than one table.
    """

    def __init__(self, model: type[M]) -> None:
        self.model = model
        self.mapper = _mapper_of(model)
        self.table = _table_of(self.mapper)
        self.columns: dict[str, Column[Any]] = dict(_columns_of(self.mapper, self.table))
        """The columns by attribute."""
        self._keys = [name for name, column in self.columns.items() if column.primary_key]
        self._known: dict[tuple[str, ...], frozenset[str]] = {}

    def row(self, data: Values | M) -> Row:
        """Return the values of one row.

        A primary key that is ``None`` is left to the database, like each ``None`` of an instance of the
        model, as in a flush.

        Args:
            data: A mapping, a Pydantic model or an instance of the model.

        Raises:
            TypeError: it is none of these, or has an attribute that is no column of the model.
        """
        sent = None
        if isinstance(data, dict):  # first, since most are: this runs for each row
            values = data
        elif isinstance(data, self.model):
            values = self._values_of_instance(data)
        elif isinstance(data, Mapping | BaseModel):
            values = values_of(data)
            sent = data.model_fields_set if isinstance(data, BaseModel) else None
        else:
            raise TypeError(
                f"A row of {self.model.__name__} is a {type(data).__name__}. Give a mapping, a Pydantic "
                f"model or an instance of {self.model.__name__}."
            )
        for key in self._keys:
            if key in values and values[key] is None:
                values = {name: value for name, value in values.items() if name != key}
        attributes = tuple(values)
        names = self._known.get(attributes) or self._check(attributes)
        return Row(values, names, names if sent is None else names & sent)

    def _check(self, names: tuple[str, ...]) -> frozenset[str]:
        """Check the attributes of a row, once for all rows that have them."""
        self.refuse(set(names) - self.columns.keys())
        # Bounded: rows with many optional attributes have them in many ways.
        if len(self._known) < _KNOWN:
            self._known[names] = frozenset(names)
        return frozenset(names)

    def _values_of_instance(self, instance: M) -> dict[str, Any]:
        loaded = vars(instance)
        return {
            name: loaded[name]
            for name, column in self.columns.items()
            if name in loaded and (loaded[name] is not None or column.type.should_evaluate_none)
        }

    def named(self, attributes: Iterable[Attribute] | Attribute) -> tuple[str, ...]:
        """Return the names of attributes, one or several.

        Raises:
            TypeError: the model has no such column.
        """
        one = isinstance(attributes, (str, QueryableAttribute))
        listed: Any = (attributes,) if one else attributes
        names = tuple(each if isinstance(each, str) else each.key for each in listed)
        self.refuse(set(names) - self.columns.keys())
        return names

    def refuse(self, names: Iterable[object]) -> None:
        """Refuse names that are no columns of the model.

        Raises:
            TypeError: there is any.
        """
        unknown = ", ".join(sorted(repr(name) for name in names))
        if unknown:
            raise TypeError(
                f"{self.model.__name__} has no column attribute {unknown}. Most likely the name is "
                "misspelt, or is that of a column or a relationship: use the attributes "
                f"{', '.join(self.columns)}."
            )

    def constants(self, names: Iterable[str]) -> dict[str, Any]:
        """Return what a flush would store besides: the version of a new row, and its polymorphic kind.

        Args:
            names: The attributes that a row has.
        """
        mapper, given = self.mapper, {self.columns[name] for name in names}
        found: dict[Any, Any] = {}
        if mapper.version_id_col is not None and callable(mapper.version_id_generator):
            found[mapper.version_id_col] = mapper.version_id_generator(None)
        if mapper.polymorphic_on is not None and mapper.polymorphic_identity is not None:
            found[mapper.polymorphic_on] = mapper.polymorphic_identity
        return {
            name: found[column]
            for name, column in self.columns.items()
            if column in found and column not in given
        }

    def set_on_update(self, updated: Sequence[Column[Any]]) -> dict[Column[Any], Any]:
        """Return what an update of a stored row sets besides: its version, and ``onupdate`` values.

        Args:
            updated: The columns that the update sets anyway.
        """
        also: dict[Column[Any], Any] = {}
        for column in self.table.columns:
            if column.onupdate is not None and column not in updated:
                also[column] = _value_on_update(column)
        for name, value in next_version(self.mapper).items():
            also[self.columns[name]] = value
        return also


def _value_on_update(column: Column[Any]) -> ColumnElement[Any] | Any:
    default: Any = column.onupdate
    if default.is_callable:
        return default.arg(None)
    return default.next_value() if default.is_sequence else default.arg


def _mapper_of(model: type[M]) -> Mapper[M]:
    try:
        mapper = inspect(model, raiseerr=True)
    except NoInspectionAvailable:
        mapper = None
    if not isinstance(mapper, Mapper):
        raise TypeError(f"{model!r} is no mapped class. Pass the class of the rows, a model.")
    return mapper


def _table_of(mapper: Mapper[Any]) -> Table:
    table = mapper.local_table
    if not isinstance(table, Table) or mapper.persist_selectable is not table:
        raise TypeError(
            f"{mapper.class_.__name__} is stored in more than one table, most likely by joined "
            "inheritance, and rows in bulk go into one. Use session.add_all() for its instances."
        )
    return table


def _columns_of(mapper: Mapper[Any], table: Table) -> Iterable[tuple[str, Column[Any]]]:
    for prop in mapper.column_attrs:
        column = prop.columns[0] if isinstance(prop, ColumnProperty) else None
        if isinstance(column, Column) and column.table is table:
            yield prop.key, column
