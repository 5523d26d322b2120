"""MySQL and MariaDB: their URLs and conflicts are understood, and they are not served yet."""

from fastapi_asyncdb.dialects.base import Backend
from fastapi_asyncdb.dialects.mysql.errors import is_conflict, rejection_of
from fastapi_asyncdb.dialects.mysql.upserts import on_duplicate_key
from fastapi_asyncdb.dialects.mysql.url import for_aiomysql

_DRIVERS = {"aiomysql": for_aiomysql, "asyncmy": for_aiomysql}

MYSQL = Backend("mysql", _DRIVERS, is_conflict, rejection_of, upsert=on_duplicate_key)
MARIADB = Backend("mariadb", _DRIVERS, is_conflict, rejection_of, upsert=on_duplicate_key)
