"""SQLite, by aiosqlite."""

from fastapi_asyncdb.dialects.backend import Backend
from fastapi_asyncdb.dialects.bulk import on_conflict
from fastapi_asyncdb.dialects.sqlite.advisory_locks import WriteLock
from fastapi_asyncdb.dialects.sqlite.errors import is_conflict
from fastapi_asyncdb.dialects.sqlite.json import SQLiteJson
from fastapi_asyncdb.dialects.sqlite.migrations import MIGRATIONS
from fastapi_asyncdb.dialects.sqlite.preset import SQLite
from fastapi_asyncdb.dialects.sqlite.rejections import rejection_of
from fastapi_asyncdb.dialects.sqlite.url import for_aiosqlite, plain_url

BACKEND = Backend(
    "sqlite",
    {"aiosqlite": for_aiosqlite},
    is_conflict,
    rejection_of,
    SQLite(),
    plain_url=plain_url,
    sync_drivers=("pysqlite",),
    seeks_by_rows=True,
    wide_numbers=True,
    upsert=on_conflict("sqlalchemy.dialects.sqlite"),
    locks=WriteLock(),
    json=SQLiteJson(),
    migrations=MIGRATIONS,
    doctor="fastapi_asyncdb.dialects.sqlite.doctor",
)
