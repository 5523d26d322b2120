"""A statement that was sent, and the statements of a block."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Statement:
    """A statement that was sent to the database."""

    sql: str
    parameter_sets: int
    """How many rows of parameters were sent with it at once."""
    call_site: str | None
    """``file:line`` of the code that sent it; ``None`` for the flush of the commit after a handler."""
    seconds: float = 0.0
    """How long the call of the driver took."""
    relation: str | None = None
    """``Author.books``, if it is a lazy load of it."""
    shape: tuple[object, ...] | None = field(default=None, repr=False)
    """Equal for the statements of a loop; ``None`` if SQLAlchemy decides how many it sends."""
    parameters_hash: int = field(default=0, repr=False)
    """A hash of the parameters."""

    def __str__(self) -> str:
        sets = f", {self.parameter_sets} sets of parameters" if self.parameter_sets > 1 else ""
        place = self.call_site or "the end of the transaction"
        return f"{one_line(self.sql)}\n     at {place} ({self.seconds * 1000:.1f} ms{sets})"


class QueryCount:
    """The statements of a block, in the order in which they were sent."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def __len__(self) -> int:
        return len(self.statements)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.count}>"

    @property
    def count(self) -> int:
        """How many statements were sent."""
        return len(self.statements)


def one_line(sql: str) -> str:
    """Return SQL without line breaks."""
    return " ".join(sql.split())
