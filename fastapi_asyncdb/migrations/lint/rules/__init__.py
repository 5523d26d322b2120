"""The rules, by name. Those that squawk has too have its names."""

from fastapi_asyncdb.migrations.lint.rules.copies import COPIES
from fastapi_asyncdb.migrations.lint.rules.locks import LOCKS
from fastapi_asyncdb.migrations.lint.rules.old_code import OLD_CODE
from fastapi_asyncdb.migrations.lint.rules.reruns import RERUNS
from fastapi_asyncdb.migrations.lint.rules.rule import Rule

RULES = {rule.name: rule for rule in (*LOCKS, *COPIES, *OLD_CODE, *RERUNS)}

__all__ = ["RULES", "Rule"]
