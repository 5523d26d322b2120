"""A project's migrations, tested: ``from fastapi_asyncdb.testing.migrations import *``."""

from fastapi_asyncdb.testing.migrations.checks import (
    Migrations,
    test_migrations_are_safe,
    test_models_match_migrations,
    test_single_head,
    test_up_down_up,
    test_upgrade_from_empty,
)

__all__ = [
    "Migrations",
    "test_migrations_are_safe",
    "test_models_match_migrations",
    "test_single_head",
    "test_up_down_up",
    "test_upgrade_from_empty",
]
