"""Types of columns that MySQL and MariaDB have otherwise than the other databases, by default."""

from __future__ import annotations

from typing import Any

from sqlalchemy import DateTime, Double, Numeric, String, Text, Time
from sqlalchemy.dialects import mysql

_NAMES = ("mysql", "mariadb")
# By default, texts are the same that differ in case or accents only.
_BINARY = "utf8mb4_bin"

WORD = String(200).with_variant(mysql.VARCHAR(200, collation=_BINARY), *_NAMES)
"""Compared as on the other databases, but for spaces at the end."""
TEXT = Text().with_variant(mysql.TEXT(collation=_BINARY), *_NAMES)
"""Likewise, without a limit that matters here."""
MOMENT = DateTime().with_variant(mysql.DATETIME(fsp=6), *_NAMES)
"""With microseconds; DATETIME has whole seconds."""
CLOCK = Time().with_variant(mysql.TIME(fsp=6), *_NAMES)
"""Likewise."""
NUMBER = Numeric().with_variant(mysql.NUMERIC(60, 20), *_NAMES)
"""NUMERIC has 10 digits, and none of them after the point."""
DOUBLE: Double[Any] = Double()
"""FLOAT has 32 bits, and no decimal fraction is found by ``=``."""
