"""Shorter grace periods, for tests in which the other side is silent on purpose."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from fastapi_asyncdb import finishing
from fastapi_asyncdb.dialects import deadlines


def shorten(monkeypatch: pytest.MonkeyPatch, **periods: Any) -> None:
    """Let the library wait only so long for an end, in seconds; the names are ``GracePeriods``'s."""
    monkeypatch.setattr(finishing, "GRACE", replace(finishing.GRACE, **periods))


def shorten_all(monkeypatch: pytest.MonkeyPatch, divisor: float) -> None:
    """Divide each period of an end by the same number, since some have to fit into others."""
    periods = asdict(finishing.GRACE)
    shorten(monkeypatch, **{name: _divided(value, divisor) for name, value in periods.items()})


def shorten_answers(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let an answer be overdue so long after the statement's own timeout; look more often."""
    shorten(monkeypatch, answer=seconds)
    monkeypatch.setattr(deadlines, "_TICK", seconds / 10)


def _divided(value: Any, divisor: float) -> Any:
    return tuple(each / divisor for each in value) if isinstance(value, tuple) else value / divisor
