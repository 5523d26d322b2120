"""The environment of migrations without a file of their own; copied by `asyncdb init`."""

from fastapi_asyncdb.migrations import run_env

run_env()
