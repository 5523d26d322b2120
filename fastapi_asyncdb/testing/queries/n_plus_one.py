"""Statements that look as if a loop had sent them, one for each object (N+1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fastapi_asyncdb.engine.read_only import only_reads
from fastapi_asyncdb.testing.queries.statements import Statement, one_line


def suspected_loops(statements: Iterable[Statement], times: int) -> Iterator[str]:
    """Describe each statement that was sent so many times with different parameters, and its cure.

    Args:
        statements: In the order in which they were sent.
        times: How often a statement is sent before it is suspected.
    """
    alike: dict[object, list[Statement]] = {}
    for statement in statements:
        if statement.shape is not None:
            alike.setdefault(statement.shape, []).append(statement)
    for group in alike.values():
        if len({statement.parameters_hash for statement in group}) >= times:
            first = group[0]
            yield (
                f"Suspected N+1: {len(group)} times, with different parameters, at "
                f"{first.call_site or 'the end of the transaction'}: {one_line(first.sql)}\n"
                f"     {_cure(first)}"
            )


def _cure(statement: Statement) -> str:
    if statement.relation:
        return (
            f"It loads {statement.relation} of one object after the other. Load them with the objects: "
            f".options(selectinload({statement.relation}))"
        )
    if only_reads(statement.sql):
        return "Ask for all at once: .where(column.in_(values)), or a join."
    return "Send all at once: session.execute(statement, rows)."
