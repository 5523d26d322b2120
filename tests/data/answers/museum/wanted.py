"""Which tables an example reads, and which of their columns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Table, inspect
from sqlalchemy.orm import ColumnProperty, RelationshipProperty

from tests.data.answers.museum import models
from tests.data.answers.museum.models import Base


@dataclass
class Wanted:
    """What an example reads."""

    tables: set[Table] = field(default_factory=set)
    columns: set[Column[Any]] = field(default_factory=set)

    def add(self, model: type[Any]) -> None:
        """Add the tables of a mapped class."""
        for mapper in inspect(model).self_and_descendants:
            self.tables.update(each for each in mapper.tables if isinstance(each, Table))
        if model is models.Crowd:
            self.add(models.Visit)

    def relate(self, relationship: RelationshipProperty[Any]) -> None:
        """Add what a relationship leads to, and the columns by which it does."""
        if isinstance(relationship.secondary, Table):
            self.tables.add(relationship.secondary)
        self.add(relationship.mapper.class_)
        pairs: Any = relationship.local_remote_pairs
        self.columns.update(column for pair in pairs for column in pair if "kind" in column.info)

    def read(self, found: ColumnProperty[Any]) -> tuple[str, bool]:
        """Add the column of an attribute; return its type, and whether it takes NULL."""
        column = found.columns[0]
        if isinstance(column, Column) and "kind" in column.info:
            self.columns.add(column)
            return column.info["kind"], bool(column.nullable)
        if found.key == "louder":
            self.columns.add(models.Room.name.property.columns[0])
        return {"louder": "word", "deleted_at": "utc"}.get(found.key, "number"), True

    def all_tables(self) -> Iterable[Table]:
        """Return the tables, and those that their rows have to point to, these first."""
        todo = list(self.tables)
        found = set(todo)
        while todo:
            for constraint in todo.pop().foreign_key_constraints:
                needed = not all(column.nullable for column in constraint.columns)
                if needed and constraint.referred_table not in found:
                    found.add(constraint.referred_table)
                    todo.append(constraint.referred_table)
        return (table for table in Base.metadata.sorted_tables if table in found)
