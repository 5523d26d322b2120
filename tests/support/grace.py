"""Shorter grace periods, for tests in which the other side is silent on purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fastapi_asyncdb import finishing

_ANSWER = "fastapi_asyncdb.dialects.deadlines._GRACE"
_CLOSING = "fastapi_asyncdb.pool.closing._LIMIT"
_TICK = "fastapi_asyncdb.dialects.deadlines._TICK"


def shorten(monkeypatch: pytest.MonkeyPatch, **periods: Any) -> None:
    """Let the library wait only so long for an end, in seconds; the names are ``GracePeriods``'s."""
    monkeypatch.setattr(finishing, "GRACE", replace(finishing.GRACE, **periods))


def shorten_answers(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let an answer be overdue so long after the statement's own timeout; look more often."""
    monkeypatch.setattr(_ANSWER, seconds)
    monkeypatch.setattr(_TICK, seconds / 10)


def shorten_closing(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the closing of a connection take no longer."""
    monkeypatch.setattr(_CLOSING, seconds)
