"""Rules of steps that fail, that cannot be repeated or undone, or that could not be looked at."""

from __future__ import annotations

from fastapi_asyncdb.migrations.lint.rules.rule import Rule

RERUNS = [
    Rule(
        "concurrently-in-transaction",
        "error",
        "PostgreSQL refuses CONCURRENTLY inside of a transaction: the upgrade fails here.",
        """\
Commit what came before, and run it outside of a transaction:
    with op.get_context().autocommit_block():
        ...""",
    ),
    Rule(
        "enum-value-in-use",
        "error",
        "PostgreSQL refuses a value of an enum in the transaction that adds it: the upgrade fails here.",
        """\
Commit the new value first:
    with op.get_context().autocommit_block():
        op.execute("ALTER TYPE NAME ADD VALUE IF NOT EXISTS 'value'")""",
    ),
    Rule(
        "commits-half-way",
        "warning",
        "The revision commits before its end. If a later statement fails, this one is stored and "
        "the revision is not: the next upgrade runs it again, and it fails.",
        """\
Let each statement that commits have a revision of its own, or make this one repeatable:
    op.create_table(..., if_not_exists=True)""",
    ),
    Rule(
        "loads-whole-table",
        "error",
        "The revision loads all rows into the memory of the process that migrates, in one "
        "transaction: with many rows it is killed, and until then its locks are held.",
        """\
Let the database do it, in batches that commit:
    backfill(op.get_context(), TABLE, values={COLUMN: EXPRESSION}, where="COLUMN IS NULL")
Or read in parts: connection.execute(statement.execution_options(yield_per=1000)).partitions()""",
    ),
    Rule(
        "downgrade-missing",
        "warning",
        "downgrade() does nothing, although upgrade() does: after a downgrade the schema is not "
        "that of the revision below, and the next upgrade fails.",
        """\
Undo what upgrade() does. If that is not possible, refuse:
    raise NotImplementedError("The values were converted: restore a backup.")""",
    ),
    Rule(
        "downgrade-loses-data",
        "warning",
        "downgrade() drops what upgrade() did not create: rows that were there before the revision "
        "are gone after a downgrade.",
        "Drop in downgrade() only what upgrade() creates.",
    ),
    Rule(
        "not-checked",
        "warning",
        "This revision cannot be checked without a database, or only up to this line.",
        """\
Read it yourself, and say so:
    # asyncdb: safe(not-checked): reads a table of ten rows""",
    ),
    Rule(
        "mark-without-reason",
        "error",
        "The mark says that a step is safe, and not why.",
        "# asyncdb: safe(RULE): the reason",
    ),
    Rule(
        "unused-mark",
        "error",
        "The mark names a rule that finds nothing here: the step was changed, or the name is "
        "misspelt. It would hide the next step that is unsafe.",
        "Remove it, or put it on the line of the step or on the line before.",
    ),
]
