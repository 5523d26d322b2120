"""``Rule``: what an unsafe step blocks or breaks, and the safe way."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi_asyncdb.migrations.lint.finding import Level


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. In its texts ``{table}`` stands for the table."""

    name: str
    level: Level
    blocks: str
    safe_way: str

    def about(self, table: str | None) -> tuple[str, str]:
        """Return both texts for a table."""
        name = table or "the table"
        return self.blocks.replace("{table}", name), self.safe_way.replace("{table}", name)
