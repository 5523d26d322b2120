"""MySQL and MariaDB, by asyncmy or aiomysql."""

from functools import partial

from fastapi_asyncdb.dialects.backend import Backend
from fastapi_asyncdb.dialects.mysql.advisory_locks import AdvisoryLocks
from fastapi_asyncdb.dialects.mysql.errors import is_conflict
from fastapi_asyncdb.dialects.mysql.estimates import ESTIMATE
from fastapi_asyncdb.dialects.mysql.floats import exactly
from fastapi_asyncdb.dialects.mysql.json import MariaDBJson
from fastapi_asyncdb.dialects.mysql.migrations import MIGRATIONS
from fastapi_asyncdb.dialects.mysql.plain_url import plain_url
from fastapi_asyncdb.dialects.mysql.preset import MySQL
from fastapi_asyncdb.dialects.mysql.rejections import rejection_of
from fastapi_asyncdb.dialects.mysql.upserts import on_duplicate_key
from fastapi_asyncdb.dialects.mysql.url import for_mysql

_backend = partial(
    Backend,
    drivers={"asyncmy": for_mysql, "aiomysql": for_mysql},
    is_conflict=is_conflict,
    rejection_of=rejection_of,
    preset=MySQL(),
    plain_url=plain_url,
    sync_drivers=("pymysql",),
    orders_nulls=False,
    exactly=exactly,
    estimate=ESTIMATE,
    upsert=on_duplicate_key,
    migrations=MIGRATIONS,
    doctor="fastapi_asyncdb.dialects.mysql.doctor",
    locks=AdvisoryLocks(),
    json=MariaDBJson(),
)

MYSQL = _backend("mysql")
MARIADB = _backend("mariadb", family=MYSQL.name)
