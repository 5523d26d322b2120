"""The environment of Alembic: the settings of the application, and the models that pyproject.toml names."""

from fastapi_asyncdb.migrations import run_env

run_env()
