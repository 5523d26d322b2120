"""Measurements, for a quiet machine: ``make bench``, and five smaller ones to be run by hand.

``import_time``, ``isolated_database`` and ``sandbox`` look at this library alone, ``migrations`` at
Alembic beside it, ``failover`` at what clients lose when primaries are killed; all other modules compare
it with others. No test asserts a number.
"""
