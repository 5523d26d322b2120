"""The checks of PostgreSQL, for the doctor."""

from fastapi_asyncdb.dialects.doctor import Doctor
from fastapi_asyncdb.dialects.postgresql.doctor.activity import blocked_queries, long_transactions
from fastapi_asyncdb.dialects.postgresql.doctor.connections import connections, pooler, tls
from fastapi_asyncdb.dialects.postgresql.doctor.indexes import (
    duplicate_indexes,
    foreign_keys,
    invalid_indexes,
    unused_indexes,
)
from fastapi_asyncdb.dialects.postgresql.doctor.numbers import sequences, transaction_ids
from fastapi_asyncdb.dialects.postgresql.doctor.replication import (
    replica_lag,
    replication_slots,
    standby,
)
from fastapi_asyncdb.dialects.postgresql.doctor.rights import explain
from fastapi_asyncdb.dialects.postgresql.doctor.server import clock, extensions, version
from fastapi_asyncdb.dialects.postgresql.doctor.storage import bloat, cache
from fastapi_asyncdb.options import TransactionOptions

DOCTOR = Doctor(
    checks={
        "server version": version,
        "TLS": tls,
        "clock": clock,
        "pooler": pooler,
        "connections": connections,
        "foreign keys": foreign_keys,
        "unused indexes": unused_indexes,
        "duplicate indexes": duplicate_indexes,
        "invalid indexes": invalid_indexes,
        "bloat": bloat,
        "cache": cache,
        "sequences": sequences,
        "transaction IDs": transaction_ids,
        "long transactions": long_transactions,
        "blocked queries": blocked_queries,
        "replica lag": replica_lag,
        "replication slots": replication_slots,
        "extensions": extensions,
    },
    # A standby has no SERIALIZABLE. A check waits for no migration that has locked a table.
    options=TransactionOptions(
        isolation_level="REPEATABLE READ", read_only=True, statement_timeout=5.0, lock_timeout=1.0
    ),
    reader=lambda settings: settings,
    explain=explain,
    replica_checks={
        "server version": version,
        "TLS": tls,
        "clock": clock,
        "pooler": pooler,
        "connections": connections,
        "standby": standby,
        "cache": cache,
        "long transactions": long_transactions,
        "replica lag": replica_lag,
    },
)
