"""PostgreSQL, by asyncpg or psycopg."""

from fastapi_asyncdb.dialects.backend import Backend
from fastapi_asyncdb.dialects.bulk import on_conflict
from fastapi_asyncdb.dialects.postgresql.advisory_locks import AdvisoryLocks
from fastapi_asyncdb.dialects.postgresql.errors import is_conflict
from fastapi_asyncdb.dialects.postgresql.estimates import ESTIMATE
from fastapi_asyncdb.dialects.postgresql.json import PostgreSQLJson
from fastapi_asyncdb.dialects.postgresql.loading import CopyLoader
from fastapi_asyncdb.dialects.postgresql.migrations import MIGRATIONS
from fastapi_asyncdb.dialects.postgresql.plain_url import plain_url
from fastapi_asyncdb.dialects.postgresql.preset import PostgreSQL
from fastapi_asyncdb.dialects.postgresql.rejections import rejection_of
from fastapi_asyncdb.dialects.postgresql.url import for_asyncpg, for_psycopg

BACKEND = Backend(
    "postgresql",
    {"asyncpg": for_asyncpg, "psycopg": for_psycopg},
    is_conflict,
    rejection_of,
    PostgreSQL(),
    plain_url=plain_url,
    sync_drivers=("psycopg", "psycopg2"),
    schemes=("postgres",),
    driver_schemes={"psycopg_async": "psycopg"},
    nulls_are_largest=True,
    seeks_by_rows=True,
    searches_text=True,
    estimate=ESTIMATE,
    upsert=on_conflict("sqlalchemy.dialects.postgresql"),
    loader=CopyLoader(),
    locks=AdvisoryLocks(),
    json=PostgreSQLJson(),
    migrations=MIGRATIONS,
    doctor="fastapi_asyncdb.dialects.postgresql.doctor",
)
