"""Rules of steps that break the code that runs while the upgrade does, and until it is replaced."""

from __future__ import annotations

from fastapi_asyncdb.migrations.lint.rules.rule import Rule

OLD_CODE = [
    Rule(
        "dropped-but-mapped",
        "error",
        "The models still have what is dropped here: every query of the model for {table} fails "
        "from then on, because SQLAlchemy names all mapped columns.",
        """\
Remove it from the model, deploy that everywhere, and drop it in a later release.""",
    ),
    Rule(
        "ban-drop-column",
        "warning",
        "Processes that still run a model with the column fail with every query of {table}. The "
        "values are gone: downgrade() can only add an empty column.",
        """\
Remove the column from the model in one release, and drop it in a later one. Then say so:
    op.drop_column("{table}", COLUMN)  # asyncdb: safe(ban-drop-column): unused since 1.4""",
    ),
    Rule(
        "ban-drop-table",
        "warning",
        "Processes that still run a model of {table} fail with every query of it. The rows are "
        "gone: downgrade() can only create an empty table.",
        """\
Remove the model in one release, and drop the table in a later one. Then say so:
    op.drop_table("{table}")  # asyncdb: safe(ban-drop-table): unused since 1.4""",
    ),
    Rule(
        "renaming-column",
        "error",
        "Processes that run the old model fail with every query of {table}, and those that run the "
        "new one until the upgrade is done.",
        """\
Keep the name in the database, and rename the attribute only:
    new_name: Mapped[str] = mapped_column("old_name")
Or add a column, write both, fill it in batches, and drop the old one in a later release.""",
    ),
    Rule(
        "renaming-table",
        "error",
        "Processes that run the old model fail with every query of {table}, and those that run the "
        "new one until the upgrade is done.",
        """\
Keep the name in the database, and rename the class only. Or leave a view under the old name:
    op.rename_table("{table}", NEW)
    op.execute("CREATE VIEW {table} AS SELECT * FROM NEW")""",
    ),
    Rule(
        "adding-required-field",
        "error",
        "A column that is NOT NULL and has no default cannot be added to {table} if it has rows (MySQL "
        "fills them with 0 or ''), and each INSERT of code that does not know the column fails.",
        """\
Give it a default on the server:
    op.add_column("{table}", sa.Column(COLUMN, TYPE, server_default=VALUE, nullable=False))
Or add it as nullable, fill it in batches, and make it NOT NULL in a later revision.""",
    ),
    Rule(
        "ban-drop-not-null",
        "warning",
        "Code that still runs may not expect NULL in this column of {table}: responses that are "
        "validated fail with it.",
        """\
Deploy code that reads NULL first. Then say so:
    # asyncdb: safe(ban-drop-not-null): read as NULL since 1.4""",
    ),
    Rule(
        "ban-truncate-cascade",
        "error",
        "TRUNCATE ... CASCADE empties every table that refers to {table}, also those that are "
        "added later, under ACCESS EXCLUSIVE locks on all of them.",
        "Name each table that is to be emptied.",
    ),
    Rule(
        "ban-drop-database",
        "error",
        "The database is gone, with all that is in it.",
        "Drop databases by hand, not in a revision.",
    ),
]
