"""Which of the drivers a run tests: the usual one of each database, the others, or all."""

from __future__ import annotations

import pytest

OTHER = frozenset({"psycopg", "aiomysql"})
"""Drivers that a URL has to name."""
# Tests of this folder are about drivers, and cheap.
ON_ALL = "tests/dialects/"


def select_drivers(items: list[pytest.Item], config: pytest.Config) -> None:
    """Deselect the tests whose driver the option ``--drivers`` leaves out.

    The option ``--databases`` names drivers itself.

    Args:
        items: Without those that are deselected, afterwards.
        config: Of the run.
    """
    option = config.getoption("--drivers")
    if option == "all" or config.getoption("--databases"):
        return
    wanted = [item for item in items if _on_another(item) is (option == "other")]
    config.hook.pytest_deselected(items=list(set(items).difference(wanted)))
    items[:] = wanted


def _on_another(item: pytest.Item) -> bool:
    """Tell whether ``database_url`` or ``driver`` names another driver than the usual one."""
    if item.nodeid.startswith(ON_ALL) or not isinstance(item, pytest.Function):
        return False
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    named = f"{parameters.get('database_url')}-{parameters.get('driver')}"
    return not OTHER.isdisjoint(named.split("-"))
