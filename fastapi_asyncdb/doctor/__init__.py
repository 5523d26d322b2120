"""Examines a database, and says what is wrong and what cures it; it writes nothing."""

from fastapi_asyncdb.dialects.doctor import Status, Thresholds
from fastapi_asyncdb.doctor.examination import Look, examine
from fastapi_asyncdb.doctor.finding import Finding, Report

__all__ = [
    "Finding",
    "Look",
    "Report",
    "Status",
    "Thresholds",
    "examine",
]
