"""``Finding`` and ``Report``: what the doctor has found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from fastapi_asyncdb.dialects.doctor import Status

_BY_SEVERITY: tuple[Status, ...] = ("fail", "warn", "skipped", "ok")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check has found."""

    check: str
    """The name of the check."""
    status: Status
    """``ok``, ``warn``, ``fail``, or ``skipped`` for a check that cannot tell."""
    fact: str
    """What is so, in one sentence. Names of tables and others are as the database has them."""
    cure: str = ""
    """What to do about it: of each ``warn`` and ``fail``."""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one examination, in the order of the checks."""

    findings: tuple[Finding, ...]

    @property
    def worst(self) -> Status:
        """The most severe status of all: ``fail``, then ``warn``, ``skipped``, ``ok``."""
        statuses: list[Status] = [each.status for each in self.findings]
        return min(statuses, key=_BY_SEVERITY.index) if statuses else "ok"

    @property
    def exit_code(self) -> int:
        """1 for a process if a check has failed, else 0."""
        return 1 if self.worst == "fail" else 0

    def as_json(self) -> dict[str, Any]:
        """Return the report for ``json.dumps()``.

        Returns:
            ``worst``, a status, and ``findings``, a list of objects with ``check``, ``status``, ``fact``
            and ``cure``, all of them strings.
        """
        return {"worst": self.worst, "findings": [asdict(finding) for finding in self.findings]}
