"""Why a database rejected a statement, in words that all databases share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RejectionKind = Literal[
    "unique",
    "foreign key",
    "exclusion",
    "check",
    "not null",
    "value",
    "statement timeout",
    "lock timeout",
    "unavailable",
]
"""``value`` is one that its column or the database cannot store; ``unavailable`` a lack of the server's
own, such as a full disk."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """What the database says of a statement that it rejected, without the values."""

    kind: RejectionKind
    code: str | None = None
    """The SQLSTATE, or SQLite's name of the code."""
    constraint: str | None = None
    table: str | None = None
    columns: tuple[str, ...] = ()
