"""The environment of Alembic: the application's settings, the models that pyproject.toml names."""

from fastapi_asyncdb.migrations import run_env

run_env()
