"""The public names of the package, which ``fastapi_asyncdb`` offers.

Importing this module imports FastAPI and SQLAlchemy.
"""

from fastapi_asyncdb.credentials import Credentials
from fastapi_asyncdb.data.answers.related import Related
from fastapi_asyncdb.data.answers.validated import rows
from fastapi_asyncdb.data.filters.any_of import AnyOf
from fastapi_asyncdb.data.filters.filter import Filter
from fastapi_asyncdb.data.filters.filter_set import FilterSet
from fastapi_asyncdb.data.filters.order_by import OrderBy
from fastapi_asyncdb.data.filters.search import Search
from fastapi_asyncdb.data.locks import advisory_lock, try_advisory_lock
from fastapi_asyncdb.data.pages.cursor import CursorPage, paginate_cursor
from fastapi_asyncdb.data.pages.offset import Page, paginate
from fastapi_asyncdb.data.pages.queries import CursorQuery, PageQuery
from fastapi_asyncdb.data.read_repository import ReadRepository
from fastapi_asyncdb.data.repository import Repository
from fastapi_asyncdb.data.unit_of_work import UnitOfWork
from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import (
    DB,
    ReadDB,
    SnapshotDB,
    db_lifespan,
    default_database,
    get_db,
    get_read_db,
    get_snapshot_db,
)
from fastapi_asyncdb.dialects.registry import register_dialect
from fastapi_asyncdb.engine.in_doubt import remember_transaction_id
from fastapi_asyncdb.models import (
    Base,
    SoftDeleteMixin,
    TimestampMixin,
    UUIDMixin,
    VersionMixin,
)
from fastapi_asyncdb.session.hooks import on_commit, on_rollback
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.web.answers import Answer, answer
from fastapi_asyncdb.web.health import health_router
from fastapi_asyncdb.web.lifespan import create_lifespan
from fastapi_asyncdb.web.problems.handlers import install_error_handlers
from fastapi_asyncdb.web.problems.mapping import problem_of
from fastapi_asyncdb.web.problems.problem import Problem
from fastapi_asyncdb.web.read_your_writes import install_read_your_writes
from fastapi_asyncdb.web.retry_route import RetryRoute

__all__ = [
    "DB",
    "Answer",
    "AnyOf",
    "Base",
    "Credentials",
    "CursorPage",
    "CursorQuery",
    "Database",
    "DatabaseSettings",
    "Filter",
    "FilterSet",
    "OrderBy",
    "Page",
    "PageQuery",
    "Problem",
    "ReadDB",
    "ReadRepository",
    "Related",
    "Repository",
    "RetryRoute",
    "Search",
    "SnapshotDB",
    "SoftDeleteMixin",
    "TimestampMixin",
    "UUIDMixin",
    "UnitOfWork",
    "VersionMixin",
    "advisory_lock",
    "answer",
    "create_lifespan",
    "db_lifespan",
    "default_database",
    "get_db",
    "get_read_db",
    "get_snapshot_db",
    "health_router",
    "install_error_handlers",
    "install_read_your_writes",
    "on_commit",
    "on_rollback",
    "paginate",
    "paginate_cursor",
    "problem_of",
    "register_dialect",
    "remember_transaction_id",
    "rows",
    "try_advisory_lock",
]
