"""Rules of steps that let requests wait: locks of PostgreSQL, held until the transaction ends.

https://www.postgresql.org/docs/current/explicit-locking.html#LOCKING-TABLES
"""

from __future__ import annotations

from fastapi_asyncdb.migrations.lint.rules.rule import Rule

_VALIDATE = """\
    def upgrade() -> None:  # a revision of its own
        with op.get_context().autocommit_block():
            op.execute("ALTER TABLE {table} VALIDATE CONSTRAINT NAME")"""

LOCKS = [
    Rule(
        "require-concurrent-index-creation",
        "error",
        "CREATE INDEX takes a SHARE lock on {table}: each INSERT, UPDATE and DELETE waits until "
        "the index is built. Reads go on.",
        """\
Build it concurrently, outside of a transaction, in a revision of its own:
    with op.get_context().autocommit_block():
        # A build that failed leaves an invalid index.
        op.drop_index(NAME, table_name="{table}", postgresql_concurrently=True, if_exists=True)
        op.create_index(NAME, "{table}", [COLUMN], postgresql_concurrently=True)""",
    ),
    Rule(
        "require-concurrent-index-deletion",
        "error",
        "DROP INDEX takes ACCESS EXCLUSIVE on the table of the index: it waits for running "
        "queries, and every read and write that comes after it waits behind it.",
        """\
Drop it concurrently, outside of a transaction:
    with op.get_context().autocommit_block():
        op.drop_index(NAME, table_name=TABLE, postgresql_concurrently=True, if_exists=True)""",
    ),
    Rule(
        "require-concurrent-reindex",
        "error",
        "REINDEX keeps writes of the table waiting until it ends, and reads that use the index.",
        """\
Build it concurrently, outside of a transaction:
    with op.get_context().autocommit_block():
        op.execute("REINDEX INDEX CONCURRENTLY NAME")""",
    ),
    Rule(
        "require-concurrent-partition-detach",
        "error",
        "DETACH PARTITION takes ACCESS EXCLUSIVE on {table}: it waits for running queries, and every "
        "read and write that comes after it waits behind it.",
        """\
Detach it concurrently, outside of a transaction:
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE {table} DETACH PARTITION NAME CONCURRENTLY")""",
    ),
    Rule(
        "adding-foreign-key-constraint",
        "error",
        "A new foreign key takes SHARE ROW EXCLUSIVE on {table} and on the table that it refers "
        "to: each INSERT, UPDATE and DELETE of both waits until all rows are checked. Reads go on.",
        """\
Check the rows later, under a lock that lets writes through:
    op.create_foreign_key(NAME, "{table}", OTHER, [COLUMN], ["id"], postgresql_not_valid=True)
"""
        + _VALIDATE,
    ),
    Rule(
        "constraint-missing-not-valid",
        "error",
        "A new constraint takes ACCESS EXCLUSIVE on {table}: every read and write of {table} waits "
        "until all rows are checked. The same holds if it is validated in the transaction that adds it.",
        """\
Check the rows later, under a lock that lets reads and writes through:
    op.create_check_constraint(NAME, "{table}", CONDITION, postgresql_not_valid=True)
"""
        + _VALIDATE,
    ),
    Rule(
        "disallowed-unique-constraint",
        "error",
        "A new unique constraint takes ACCESS EXCLUSIVE on {table}: every read and write of "
        "{table} waits until its index is built.",
        """\
Build the index concurrently, then make it the constraint:
    with op.get_context().autocommit_block():
        op.create_index(NAME, "{table}", [COLUMN], unique=True, postgresql_concurrently=True)
    # in the next revision
    op.execute("ALTER TABLE {table} ADD CONSTRAINT NAME UNIQUE USING INDEX NAME")""",
    ),
    Rule(
        "adding-serial-primary-key-field",
        "error",
        "A new primary key takes ACCESS EXCLUSIVE on {table}: every read and write of {table} "
        "waits until its index is built.",
        """\
Build a unique index concurrently, then make it the key:
    op.execute("ALTER TABLE {table} ADD CONSTRAINT NAME PRIMARY KEY USING INDEX INDEX_NAME")""",
    ),
    Rule(
        "adding-not-nullable-field",
        "error",
        "SET NOT NULL takes ACCESS EXCLUSIVE on {table}: every read and write of {table} waits "
        "until all rows are checked.",
        """\
Let a constraint check the rows first, which PostgreSQL 12 and newer then believe:
    op.create_check_constraint(NAME, "{table}", "COLUMN IS NOT NULL", postgresql_not_valid=True)
"""
        + _VALIDATE
        + """
    # in the next revision
    # asyncdb: safe(adding-not-nullable-field): NAME has checked all rows
    op.alter_column("{table}", COLUMN, nullable=False)
    op.drop_constraint(NAME, "{table}")""",
    ),
    Rule(
        "adding-field-with-default",
        "error",
        "A default that differs for each row (volatile or generated) rewrites {table} under ACCESS "
        "EXCLUSIVE: every read and write of {table} waits until the copy is done.",
        """\
Add the column without it, set it for new rows, and fill the old ones in batches:
    op.add_column("{table}", sa.Column(COLUMN, TYPE, nullable=True))
    op.alter_column("{table}", COLUMN, server_default=DEFAULT)
    # in the next revision
    backfill(op.get_context(), "{table}", values={COLUMN: DEFAULT}, where="COLUMN IS NULL")""",
    ),
    Rule(
        "changing-column-type",
        "error",
        "A new type rewrites {table} and its indexes under ACCESS EXCLUSIVE: every read and write "
        "of {table} waits until the copy is done. Some changes need no rewrite, such as to text or "
        "to a longer varchar: mark those. Code that still runs may not know the new type.",
        """\
Add a column of the new type, write both, fill it in batches, read the new one, drop the old one:
    op.add_column("{table}", sa.Column(NEW, TYPE, nullable=True))
    # in the next revision, when the code that runs writes both
    backfill(op.get_context(), "{table}", values={NEW: sa.column(OLD)}, where="NEW IS NULL")""",
    ),
    Rule(
        "update-under-lock",
        "error",
        "The revision has changed {table} by ALTER TABLE, whose ACCESS EXCLUSIVE lock is held "
        "until the transaction ends: every read and write of {table} waits until all of these rows "
        "are written.",
        """\
Change the rows in the next revision, in batches that commit:
    backfill(op.get_context(), "{table}", values={COLUMN: VALUE}, where="COLUMN IS NULL")""",
    ),
    Rule(
        "whole-table-update",
        "error",
        "One transaction writes each row of {table}: every other transaction that changes one of "
        "them waits until the end, on SQLite every write of the database. The table grows by all "
        "its rows.",
        """\
Change the rows in batches that commit, in a revision of its own:
    backfill(op.get_context(), "{table}", values={COLUMN: VALUE}, where="COLUMN IS NULL")""",
    ),
]
