"""MySQL and MariaDB: their URLs are understood, and they are not served yet."""

from fastapi_asyncdb.dialects.base import Backend
from fastapi_asyncdb.dialects.mysql.url import for_aiomysql

_DRIVERS = {"aiomysql": for_aiomysql, "asyncmy": for_aiomysql}

MYSQL = Backend("mysql", _DRIVERS)
MARIADB = Backend("mariadb", _DRIVERS)
