"""The checks of SQLite, for the doctor."""

from fastapi_asyncdb.dialects.doctor import Doctor
from fastapi_asyncdb.dialects.sqlite.doctor.file import file_rights, free_pages, reader, wal_size
from fastapi_asyncdb.dialects.sqlite.doctor.integrity import foreign_key_values, integrity
from fastapi_asyncdb.dialects.sqlite.doctor.pragmas import journal_mode, pragmas, version
from fastapi_asyncdb.dialects.sqlite.doctor.schema import duplicate_indexes, foreign_keys
from fastapi_asyncdb.options import TransactionOptions

DOCTOR = Doctor(
    checks={
        "SQLite version": version,
        "journal mode": journal_mode,
        "pragmas": pragmas,
        "file rights": file_rights,
        "integrity": integrity,
        "foreign key values": foreign_key_values,
        "foreign keys": foreign_keys,
        "duplicate indexes": duplicate_indexes,
        "free pages": free_pages,
        "WAL size": wal_size,
    },
    options=TransactionOptions(isolation_level="REPEATABLE READ", read_only=True),
    reader=reader,
    explain=lambda error: None,
)
