"""Rules of steps for which MySQL and MariaDB copy a table: writes wait until the copy is done.

https://dev.mysql.com/doc/refman/8.4/en/innodb-online-ddl-operations.html
https://mariadb.com/kb/en/innodb-online-ddl-operations-with-the-inplace-alter-algorithm/
"""

from __future__ import annotations

from fastapi_asyncdb.migrations.lint.rules.rule import Rule

COPIES = [
    Rule(
        "alter-may-copy-table",
        "error",
        "MySQL and MariaDB may copy {table} for this, as for another type, a shorter text or a check: "
        "each INSERT, UPDATE and DELETE waits until the copy is done. Reads go on.",
        """\
Say that writes have to go on; then the server refuses at once what it can only do by a copy:
    op.execute("ALTER TABLE {table} MODIFY COLUMN TYPE NOT NULL, LOCK=NONE")
What it refuses can be done by gh-ost or pt-online-schema-change; or add a column of the new type,
write both, fill it in batches, read the new one, drop the old one.""",
    ),
    Rule(
        "foreign-key-copies-table",
        "error",
        "MySQL and MariaDB copy {table} to check a new foreign key: each INSERT, UPDATE and DELETE "
        "waits until the copy is done. Reads go on.",
        """\
Look for rows without a parent yourself, then add it without the check of the old rows:
    op.execute("SET SESSION foreign_key_checks = OFF")
    op.execute(
        "ALTER TABLE {table} ADD CONSTRAINT NAME FOREIGN KEY (COLUMN) REFERENCES OTHER (id), LOCK=NONE"
    )
    op.execute("SET SESSION foreign_key_checks = ON")""",
    ),
]
