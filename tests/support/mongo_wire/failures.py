"""``CommandFailure``: an error as the server answers it."""

from __future__ import annotations

from typing import Any


class CommandFailure(Exception):
    """The answer ``ok: 0``."""

    def __init__(self, code: int, name: str, message: str, labels: list[str] | None = None) -> None:
        super().__init__(message)
        self.code, self.name, self.labels = code, name, labels or []

    def document(self) -> dict[str, Any]:
        """Return the answer."""
        answer = {"ok": 0.0, "errmsg": str(self), "code": self.code, "codeName": self.name}
        return answer | ({"errorLabels": self.labels} if self.labels else {})


def write_conflict() -> CommandFailure:
    """Return what a transaction gets that was not the first."""
    return CommandFailure(112, "WriteConflict", "Write conflict", ["TransientTransactionError"])


def no_such_transaction() -> CommandFailure:
    """Return what a transaction gets that has ended."""
    message = "Given transaction number does not match any in-progress transactions."
    return CommandFailure(251, "NoSuchTransaction", message, ["TransientTransactionError"])
