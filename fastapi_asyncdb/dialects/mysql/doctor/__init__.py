"""The checks of MySQL and MariaDB, for the doctor."""

from fastapi_asyncdb.dialects.doctor import Doctor
from fastapi_asyncdb.dialects.mysql.doctor.activity import blocked_queries, long_transactions
from fastapi_asyncdb.dialects.mysql.doctor.connections import connections, idle_timeout, tls
from fastapi_asyncdb.dialects.mysql.doctor.durability import binary_log, durability
from fastapi_asyncdb.dialects.mysql.doctor.replication import replica_lag
from fastapi_asyncdb.dialects.mysql.doctor.rights import explain, reader, rights
from fastapi_asyncdb.dialects.mysql.doctor.schema import (
    auto_increments,
    character_set,
    duplicate_indexes,
    engines,
    primary_keys,
)
from fastapi_asyncdb.dialects.mysql.doctor.server import clock, sql_mode, time_zone, version
from fastapi_asyncdb.options import TransactionOptions

DOCTOR = Doctor(
    checks={
        "server version": version,
        "TLS": tls,
        "rights": rights,
        "clock": clock,
        "time zone": time_zone,
        "connections": connections,
        "idle timeout": idle_timeout,
        "SQL mode": sql_mode,
        "durability": durability,
        "binary log": binary_log,
        "storage engines": engines,
        "primary keys": primary_keys,
        "character set": character_set,
        "duplicate indexes": duplicate_indexes,
        "auto-increments": auto_increments,
        "long transactions": long_transactions,
        "blocked queries": blocked_queries,
        "replica lag": replica_lag,
    },
    # A check waits for no migration that has locked a table.
    options=TransactionOptions(
        isolation_level="REPEATABLE READ", read_only=True, statement_timeout=5.0, lock_timeout=1.0
    ),
    reader=reader,
    explain=explain,
)
