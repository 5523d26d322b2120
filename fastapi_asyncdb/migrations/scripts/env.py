"""The environment of the migrations: the database of DATABASE_URL, the models of pyproject.toml."""

from fastapi_asyncdb.migrations import run_env

run_env()
