"""URLs of MySQL and MariaDB for engines that are made of nothing else."""

from __future__ import annotations

from sqlalchemy import URL

from fastapi_asyncdb.dialects.mysql.url import for_mysql
from fastapi_asyncdb.dialects.target import TLS
from fastapi_asyncdb.errors import InvalidDatabaseURL


def plain_url(drivername: str, rest: str) -> URL:
    """Write everything into the query of the URL; refuse what cannot stand there."""
    target = for_mysql(drivername, rest)
    query = {name: str(value) for name, value in target.connect_args.items()}
    if target.connect_timeout is not None:
        query["connect_timeout"] = str(round(target.connect_timeout))
    tls = _for_pymysql(target.tls) if drivername.endswith("+pymysql") else _for_async(target.tls)
    if tls is None:
        raise InvalidDatabaseURL(
            f"The database URL asks for the TLS mode {target.tls.mode}, and {drivername} does not take "
            "that in the URL of an engine. Use the engines of a Database, or run_env() in env.py, which "
            'pass it as an argument; or sqlalchemy_url(driver="sync"), with ssl-ca for a mode that '
            "verifies."
        )
    return target.url.update_query_dict(query | tls)


def _for_async(tls: TLS) -> dict[str, str] | None:
    encrypted = tls.mode not in ("disable", "allow", "prefer") or tls.cert
    return None if encrypted else {}


def _for_pymysql(tls: TLS) -> dict[str, str] | None:
    """Return what SQLAlchemy makes PyMySQL's ``ssl`` of; without an authority that verifies nothing.

    https://docs.sqlalchemy.org/en/20/dialects/mysql.html#ssl-connections
    """
    if tls.mode in ("disable", "allow", "prefer"):
        return {"ssl_disabled": "true"} if tls.mode == "disable" else {}
    if tls.verified and tls.root_cert is None:
        return None
    written = {"ssl_ca": tls.root_cert, "ssl_cert": tls.cert, "ssl_key": tls.key}
    query = {name: value for name, value in written.items() if value is not None}
    return query if tls.mode == "verify-full" else query | {"ssl_check_hostname": "false"}
