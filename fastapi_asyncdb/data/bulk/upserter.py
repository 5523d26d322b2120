"""``Upserter``: the statements of upserts into one table, and what they do with each row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, literal_column, select
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Insert

from fastapi_asyncdb.data.bulk.batches import slices
from fastapi_asyncdb.data.bulk.columns import Attribute, ModelTable, Row
from fastapi_asyncdb.data.bulk.create import TableWriter, flush
from fastapi_asyncdb.data.bulk.stored_keys import select_stored
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.dialects.bulk import Upsert, UpsertOutcome
from fastapi_asyncdb.errors import ConfigurationError, NotFoundError

# Parameters of one query; SQLite before 3.32 takes 999.
_PARAMETERS = 900
# Those that SQLite's UNION takes are 500.
_SELECTS = 450


@dataclass(slots=True)
class _Group:
    """Rows that one statement upserts: they fill the same columns, and no two have the same key."""

    places: list[int] = field(default_factory=list)
    """Where each row stands in the batch."""
    rows: list[Row] = field(default_factory=list)


class Upserter(TableWriter):
    """Upserts into the table of a model.

    Args:
        target: The table.
        conflict: The attributes of a unique index.
        update: The attributes that are updated; ``None`` for all that a row gives.
        conflict_where: The condition of the unique index, if it is a partial one.
        only: The conditions of stored rows that may be seen and updated.
    """

    def __init__(
        self,
        target: ModelTable[Any],
        conflict: Sequence[Attribute],
        update: Sequence[Attribute] | None = None,
        conflict_where: ColumnElement[bool] | None = None,
        *,
        only: Sequence[Any] = (),
    ) -> None:
        super().__init__(target)
        self._conflict = target.named(conflict)
        self._update = None if update is None else target.named(update)
        self._where = conflict_where
        self._only: ColumnElement[bool] | None = and_(*only) if only else None
        if not self._conflict:
            raise TypeError("conflict names no attribute. Give those of a unique index.")

    # --- One row ----------------------------------------------------------------------------------

    def one(self, session: Session, data: Any) -> Any:
        """Upsert a row; return its object."""
        flush(session)
        row = self._row(data)
        rows = self.rows(row.names, [row])
        dialect = self.dialect(session)
        upsert = self._upsert(row, dialect)
        statement = self._statement(upsert, dialect).values(rows.parameters()[0])
        if dialect.insert_returning:
            found = self._object(session, statement.returning(*self.target.table.columns))
        else:
            self.execute(session, statement, None)
            found = None
        return found if found is not None else self._stored(session, upsert, row)

    def _stored(self, session: Session, upsert: Upsert, row: Row) -> Any:
        """Return the object that was there already."""
        stored = [column == row.values[name] for name, column in self._key]
        stored += [each for each in (upsert.where, upsert.only) if each is not None]
        found = self._object(session, select(self.target.table).where(and_(*stored)))
        if found is None:
            raise NotFoundError(
                f"The stored {self.target.model.__name__} with this key is none of those that this "
                "repository may change, or was deleted by another transaction meanwhile. In the second "
                "case repeat the upsert.",
                model=self.target.model.__name__,
            )
        return found

    def _object(self, session: Session, statement: Any) -> Any:
        # By from_statement no filter is added to it, as one that hides rows which are deleted softly.
        loaded = select(self.target.model).from_statement(statement)
        return session.scalars(loaded, execution_options={"populate_existing": True}).one_or_none()

    # --- Many rows --------------------------------------------------------------------------------

    def many(self, session: Session, batch: list[Any], *, report: bool) -> list[UpsertOutcome]:
        """Upsert a batch; return what has happened to each row if ``report`` is true, else nothing."""
        flush(session)
        outcomes: dict[int, UpsertOutcome] = {}
        for group in self._groups([self._row(data) for data in batch]):
            found = self._upsert_group(session, group, report=report)
            outcomes.update(zip(group.places, found, strict=False))
        return [outcomes[place] for place in sorted(outcomes)]

    def _groups(self, rows: list[Row]) -> Iterator[_Group]:
        """Put rows together; the second row with a key is in a later group than the first."""
        groups: dict[tuple[int, frozenset[str], frozenset[str]], _Group] = {}
        times: defaultdict[Any, int] = defaultdict(int)
        for place, row in enumerate(rows):
            key = self._key_of(row)
            shape = (times[key], row.names, row.given)
            group = groups.get(shape)
            if group is None:
                group = groups[shape] = _Group()
            group.places.append(place)
            group.rows.append(row)
            if None not in key:  # no two NULLs are in conflict
                times[key] += 1
        for shape in sorted(groups, key=lambda shape: shape[0]):
            yield groups[shape]

    def _upsert_group(
        self, session: Session, group: _Group, *, report: bool
    ) -> Sequence[UpsertOutcome]:
        rows = self.rows(group.rows[0].names, group.rows)
        dialect = self.dialect(session)
        upsert = self._upsert(group.rows[0], dialect)
        statement = self._statement(upsert, dialect)
        loader = self.loader(session)
        if loader is not None:
            done = loader.upsert(self.connection(session), rows, statement, upsert, report=report)
            if done is not None:
                return done
        outcomes = self._outcomes(session, group.rows, upsert) if report else ()
        self.execute(session, statement, rows.parameters())
        return outcomes

    def _outcomes(
        self, session: Session, rows: list[Row], upsert: Upsert
    ) -> Sequence[UpsertOutcome]:
        """Look up which of the keys are stored, and what the upsert will do with each row."""
        outcomes: list[UpsertOutcome] = ["created"] * len(rows)
        keys = [[row.values.get(name) for name in self._conflict] for row in rows]
        numbered = ((number, key) for number, key in enumerate(keys) if None not in key)
        for some in slices(numbered, min(_PARAMETERS // len(self._conflict), _SELECTS)):
            query = select_stored(some, upsert)
            for row in self.execute(session, query, None):
                number, first, is_stored, may_update = tuple(row)
                if is_stored or first < number:
                    is_updated = upsert.update and (may_update or not is_stored)
                    outcomes[number] = "updated" if is_updated else "skipped"
        return outcomes

    def _key_of(self, row: Row) -> tuple[Any, ...]:
        return _hashable(tuple(map(row.values.get, self._conflict)))

    # --- The statement ----------------------------------------------------------------------------

    @property
    def _key(self) -> list[tuple[str, Column[Any]]]:
        return [(name, self.target.columns[name]) for name in self._conflict]

    def _row(self, data: Any) -> Row:
        row = self.target.row(data)
        for name, column in self._key:
            if name not in row.names and not column.primary_key:
                raise TypeError(
                    f"A row of {self.target.model.__name__} lacks {name!r}, which conflict names: "
                    "it would be inserted each time. Give each row its key."
                )
        return row

    def _upsert(self, row: Row, dialect: Dialect) -> Upsert:
        key = {column for _, column in self._key}
        columns = self.target.columns
        wanted = columns if self._update is None else self._update
        update = [columns[name] for name in wanted if name in row.given]
        if self._update is None:
            update = [each for each in update if each not in key and not each.primary_key]
        also = self.target.set_on_update(update) if update else {}
        return Upsert(
            self.target.table,
            tuple(column for _, column in self._key),
            None if self._where is None else _without_parameters(self._where, dialect),
            tuple(each for each in update if each not in also),
            also,
            self._only,
        )

    def _statement(self, upsert: Upsert, dialect: Dialect) -> Insert:
        backend = backend_of(dialect)
        if backend is None or backend.upsert is None:
            raise ConfigurationError(
                f"Upserts are not supported on {dialect.name}. Look for the row with FOR UPDATE, then "
                "insert or update it."
            )
        return backend.upsert(upsert)


def _hashable(key: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        hash(key)
    except TypeError:
        return tuple(None if each is None else repr(each) for each in key)
    return key


def _without_parameters(where: ColumnElement[bool], dialect: Dialect) -> ColumnElement[bool]:
    """Return the condition with its values in the text: the server compares it with the index's."""
    options = {"literal_binds": True, "include_table": False}
    sql = str(where.compile(dialect=dialect, compile_kwargs=options))
    # literal_column() doubles them again.
    doubled = dialect.paramstyle in ("format", "pyformat")
    return literal_column(sql.replace("%%", "%") if doubled else sql)
