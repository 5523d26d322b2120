"""Measurements, for a quiet machine: ``make bench``, and four smaller ones to be run by hand.

``import_time``, ``isolated_database`` and ``sandbox`` look at this library alone, ``migrations`` at
Alembic beside it; all other modules compare it with others. No test asserts a number.
"""
