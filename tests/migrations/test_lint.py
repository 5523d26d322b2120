"""The linter finds the unsafe steps of revisions, and is content with the safe way of each."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ConfigurationError, MissingExtra
from fastapi_asyncdb.migrations import MigrationConfig, Migrator
from fastapi_asyncdb.migrations.engines import Source
from fastapi_asyncdb.migrations.lint import main_branch_of, squawk
from fastapi_asyncdb.migrations.lint.rules import RULES
from tests.migrations.lint_project import LintProject

COLUMN = 'sa.Column("slug", sa.String(50))'
NOT_VALID = "postgresql_not_valid=True"
BLOCK = "with op.get_context().autocommit_block():\n    "
UP = f'def upgrade():\n    op.add_column("posts", {COLUMN})\ndef downgrade():\n    '
MODELS = sa.MetaData()
sa.Table("posts", MODELS, sa.Column("id", sa.Integer, primary_key=True), sa.Column("slug", sa.Text))
BACKFILL = 'backfill(op.get_context(), "posts", values={"slug": ""}, where="slug IS NULL")'

PAGE = (Path(__file__).parents[2] / "docs" / "migrations-safety.md").read_text()

# The rule, a step that it finds, and the safe way.
STEPS = [
    (
        "require-concurrent-index-creation",
        'op.create_index("ix", "posts", ["slug"])',
        BLOCK
        + 'op.drop_index("ix", table_name="posts", postgresql_concurrently=True, if_exists=True)'
        '\n    op.create_index("ix", "posts", ["slug"], postgresql_concurrently=True)',
    ),
    (
        "require-concurrent-index-deletion",
        'op.drop_index("ix", table_name="posts")',
        BLOCK
        + 'op.drop_index("ix", table_name="posts", postgresql_concurrently=True, if_exists=True)',
    ),
    (
        "require-concurrent-reindex",
        'op.execute("REINDEX INDEX ix")',
        BLOCK + 'op.execute("REINDEX INDEX CONCURRENTLY ix")',
    ),
    (
        "require-concurrent-partition-detach",
        'op.execute("ALTER TABLE posts DETACH PARTITION posts_2024")',
        BLOCK + 'op.execute("ALTER TABLE posts DETACH PARTITION posts_2024 CONCURRENTLY")',
    ),
    (
        "adding-foreign-key-constraint",
        'op.create_foreign_key("fk", "posts", "users", ["user_id"], ["id"])',
        f'op.create_foreign_key("fk", "posts", "users", ["user_id"], ["id"], {NOT_VALID})',
    ),
    (
        "constraint-missing-not-valid",
        'op.create_check_constraint("ck", "posts", "slug > \'\'")',
        f'op.create_check_constraint("ck", "posts", "slug > \'\'", {NOT_VALID})',
    ),
    (
        "constraint-missing-not-valid",
        f'op.create_check_constraint("ck", "posts", "slug > \'\'", {NOT_VALID})\n'
        'op.execute("ALTER TABLE posts VALIDATE CONSTRAINT ck")',
        BLOCK + 'op.execute("ALTER TABLE posts VALIDATE CONSTRAINT ck")',
    ),
    (
        "disallowed-unique-constraint",
        'op.create_unique_constraint("uq", "posts", ["slug"])',
        'op.execute("ALTER TABLE posts ADD CONSTRAINT uq UNIQUE USING INDEX uq")',
    ),
    (
        "adding-serial-primary-key-field",
        'op.create_primary_key("pk", "posts", ["slug"])',
        'op.execute("ALTER TABLE posts ADD CONSTRAINT pk PRIMARY KEY USING INDEX ix")',
    ),
    (
        "adding-not-nullable-field",
        'op.alter_column("posts", "slug", nullable=False)',
        f'op.create_check_constraint("ck", "posts", "slug IS NOT NULL", {NOT_VALID})',
    ),
    (
        "adding-field-with-default",
        'op.add_column("posts", sa.Column("token", sa.Uuid, server_default=sa.func.gen_random_uuid()))',
        'op.add_column("posts", sa.Column("token", sa.Uuid))\n'
        'op.alter_column("posts", "token", server_default=sa.func.gen_random_uuid())',
    ),
    (
        "changing-column-type",
        'op.alter_column("posts", "slug", type_=sa.Integer)',
        'op.add_column("posts", sa.Column("number", sa.Integer))',
    ),
    (
        "update-under-lock",
        f'op.add_column("posts", {COLUMN})\nop.execute("UPDATE posts SET slug = \'\' WHERE id > 0")',
        BACKFILL,
    ),
    ("whole-table-update", "op.execute(\"UPDATE posts SET slug = ''\")", BACKFILL),
    ("whole-table-update", "op.execute(sa.delete(sa.table('posts')))", BACKFILL),
    ("ban-drop-column", 'op.drop_column("posts", "slug")', f'op.add_column("posts", {COLUMN})'),
    ("ban-drop-table", 'op.drop_table("posts")', 'op.create_table("posts")'),
    ("renaming-column", 'op.alter_column("posts", "slug", new_column_name="path")', "pass"),
    ("renaming-table", 'op.rename_table("posts", "articles")', "pass"),
    (
        "adding-required-field",
        'op.add_column("posts", sa.Column("slug", sa.String(50), nullable=False))',
        'op.add_column("posts", sa.Column("slug", sa.String(50), nullable=False, server_default=""))',
    ),
    ("ban-drop-not-null", 'op.alter_column("posts", "slug", nullable=True)', "pass"),
    (
        "ban-truncate-cascade",
        'op.execute("TRUNCATE posts CASCADE")',
        'op.execute("TRUNCATE posts")',
    ),
    ("ban-drop-database", 'op.execute("DROP DATABASE app")', "pass"),
    (
        "concurrently-in-transaction",
        'op.create_index("ix", "posts", ["slug"], postgresql_concurrently=True)',
        BLOCK + 'op.create_index("ix", "posts", ["slug"], postgresql_concurrently=True)',
    ),
    (
        "enum-value-in-use",
        "op.execute(\"ALTER TYPE mood ADD VALUE 'glad'\")\n"
        "op.execute(\"INSERT INTO moods (mood) VALUES ('glad')\")",
        BLOCK + "op.execute(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'glad'\")\n"
        "op.execute(\"INSERT INTO moods (mood) VALUES ('glad')\")",
    ),
    (
        "commits-half-way",
        f'op.add_column("posts", {COLUMN})\n' + BACKFILL,
        f'op.add_column("posts", {COLUMN})',
    ),
    (
        "loads-whole-table",
        "rows = op.get_bind().execute(sa.text('SELECT 1'))  # asyncdb: safe(not-checked): x\nlist(rows)",
        BACKFILL,
    ),
    ("downgrade-missing", UP + "pass", UP + 'op.drop_column("posts", "slug")'),
    (
        "downgrade-loses-data",
        UP + 'op.drop_column("posts", "title")',
        UP + 'op.drop_column("posts", "slug")',
    ),
    ("not-checked", 'op.get_bind().execute(sa.text("SELECT 1")).scalar_one()', "pass"),
    (
        "mark-without-reason",
        'op.drop_table("posts")  # asyncdb: safe(ban-drop-table)',
        'op.drop_table("posts")  # asyncdb: safe(ban-drop-table): unused since 1.4',
    ),
    (
        "unused-mark",
        'op.create_table("posts")  # asyncdb: safe(ban-drop-table): unused since 1.4',
        'op.create_table("posts")',
    ),
]

ALTER = 'op.execute("ALTER TABLE posts {}")'
# The rule, the change, and whether MariaDB can do it with LOCK=NONE nevertheless.
COPIES = [
    ("alter-may-copy-table", "MODIFY slug TEXT", False),
    ("alter-may-copy-table", "MODIFY slug VARCHAR(60) NOT NULL", True),
    ("alter-may-copy-table", "CONVERT TO CHARACTER SET latin1", False),
    ("alter-may-copy-table", "DROP PRIMARY KEY", False),
    ("alter-may-copy-table", "ADD FULLTEXT INDEX ix (slug)", False),
    ("alter-may-copy-table", "ADD COLUMN twice INT AS (n * 2) STORED", False),
    ("alter-may-copy-table", "ADD CONSTRAINT ck CHECK (n > 0)", False),
    ("foreign-key-copies-table", "ADD CONSTRAINT fk FOREIGN KEY (n) REFERENCES users (id)", False),
]
IN_PLACE = [
    "ADD COLUMN extra INT NOT NULL DEFAULT 0",
    "ADD INDEX ix (n)",
    "DROP PRIMARY KEY, ADD PRIMARY KEY (n)",
]


@pytest.fixture
def project(tmp_path: Path) -> LintProject:
    """A project without revisions."""
    return LintProject(tmp_path)


@pytest.mark.parametrize(("rule", "unsafe", "safe"), STEPS, ids=[step[0] for step in STEPS])
def test_each_rule(project: LintProject, rule: str, unsafe: str, safe: str):
    """One finding for the unsafe step, none for the safe way."""
    assert project.rules(unsafe) == [rule]
    assert project.rules(safe) == []


@pytest.mark.parametrize(("rule", "change", "can"), COPIES, ids=[step[1] for step in COPIES])
async def test_what_mysql_copies(
    project: LintProject, rule: str, change: str, can: bool, mysql_url: str
):
    """A statement that forbids the copy is no finding; the server refuses it if it needs the copy."""
    assert project.rules(ALTER.format(change), dialect="mysql") == [rule]
    assert project.rules(ALTER.format(f"{change}, LOCK=NONE"), dialect="mariadb") == []
    async with mysql_tables(mysql_url) as connection:
        statement = sa.text(f"ALTER TABLE posts {change}, LOCK=NONE")
        if can:
            await connection.execute(statement)
        else:
            with pytest.raises(DBAPIError, match="LOCK=NONE is not supported"):
                await connection.execute(statement)


async def test_what_mysql_does_in_place(project: LintProject, mysql_url: str):
    """Writes go on: no finding. The safe way of a foreign key is one of them."""
    safe_way = RULES["foreign-key-copies-table"].about("posts")[1]
    words = re.sub(r"\bNAME\b", "fk", safe_way).replace("COLUMN", "n").replace("OTHER", "users")
    body = "\n".join(line[4:] for line in words.splitlines() if line.startswith("    "))
    assert project.rules(body, dialect="mysql") == []
    async with mysql_tables(mysql_url) as connection:
        for statement in re.findall(r'"((?:SET|ALTER).*)"', body):
            await connection.execute(sa.text(statement))
        for change in IN_PLACE:
            assert project.rules(ALTER.format(change), dialect="mysql") == []
            await connection.execute(sa.text(f"ALTER TABLE posts {change}, LOCK=NONE"))


@asynccontextmanager
async def mysql_tables(url: str) -> AsyncIterator[AsyncConnection]:
    """Make posts and users, and yield a connection."""
    async with (
        Database(DatabaseSettings(url=url)) as database,
        database.engine.connect() as connection,
    ):
        await connection.execute(sa.text("CREATE TABLE users (id INT PRIMARY KEY)"))
        await connection.execute(
            sa.text("CREATE TABLE posts (id INT PRIMARY KEY, slug VARCHAR(50), n INT)")
        )
        yield connection


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ('op.add_column("posts", sa.Column("n", sa.Integer))', False),
        (
            'op.add_column("posts", sa.Column("n", sa.Integer))\nop.create_index("ix", "posts", ["n"])',
            True,
        ),
        (
            'op.execute("ALTER TABLE posts ADD COLUMN IF NOT EXISTS n INT")\n'
            'op.create_index("ix", "posts", ["n"])',
            False,
        ),
        (
            'op.create_table("a", sa.Column("id", sa.Integer, primary_key=True))\n'
            'op.create_table("b", sa.Column("id", sa.Integer, primary_key=True))\n'
            'op.create_index("ix", "b", ["id"])',
            False,
        ),
        (
            'op.create_table("a", sa.Column("id", sa.Integer, primary_key=True))\n'
            'op.add_column("posts", sa.Column("n", sa.Integer))',
            True,
        ),
    ],
)
def test_several_changes_of_mysql(project: LintProject, body: str, found: bool):
    """They are no transaction: what was done before a failure stays. New tables are no finding."""
    assert project.rules(body, dialect="mysql") == (["commits-half-way"] if found else [])


def test_each_rule_has_a_step():
    """What is not tried here may find nothing, or everything."""
    tried = {step[0] for step in (*STEPS, *COPIES)}
    assert tried | {"dropped-but-mapped"} == RULES.keys()


def test_page_has_each_rule():
    """With the words of the findings."""
    for rule in RULES.values():
        blocks, safe_way = rule.about(None)
        assert f"| `{rule.name}` | {blocks} | " in PAGE
        assert f" {safe_way.splitlines()[0].strip('# :.')}" in PAGE.replace("`# ", " ")


def test_finding_says_where_what_and_how(project: LintProject):
    """The place, the statement, what waits for whom, and the safe way for this table."""
    path = project.write(
        "a",
        """
        def upgrade():
            op.add_column("posts", sa.Column("slug", sa.Text))
            op.create_index(
                "ix", "posts", ["slug"]
            )
        """,
    )
    [finding] = project.lint()
    assert (finding.revision, finding.file, finding.level) == ("a", path, "error")
    assert path.read_text().splitlines()[(finding.line or 0) - 1].strip() == "op.create_index("
    assert finding.statement == "CREATE INDEX ix ON posts (slug)"
    assert "SHARE lock on posts: each INSERT, UPDATE and DELETE waits" in finding.blocks
    assert 'op.create_index(NAME, "posts", [COLUMN], postgresql_concurrently=True)' in str(finding)
    head = f"a_step.py:{finding.line}: error: require-concurrent-index-creation (revision a)"
    assert str(finding).startswith(head)


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_code_of_the_safe_ways_is_code(rule: object):
    """What is printed can be pasted, but for the names in capitals."""
    safe_way = RULES[rule.name].about("posts")[1]  # type: ignore[attr-defined]
    code = "\n".join(line for line in safe_way.splitlines() if line.startswith("    "))
    compile(re.sub(r"^    ", "", code, flags=re.MULTILINE), rule.name, "exec")  # type: ignore[attr-defined]


# --- What is no finding ---------------------------------------------------------------------------


def test_tables_of_the_revision_itself(project: LintProject):
    """No other transaction sees them."""
    assert project.rules("""
        op.create_table("tags", sa.Column("id", sa.Integer, primary_key=True))
        op.create_index("ix", "tags", ["id"])
        op.create_foreign_key("fk", "tags", "posts", ["id"], ["id"])
        op.alter_column("tags", "id", nullable=False)
        op.execute("UPDATE tags SET id = 1")
        op.drop_table("tags")
    """) == []  # fmt: skip


def test_style_is_no_finding(project: LintProject):
    """Integers of 32 bits, lengths of texts and times without a zone let nothing wait."""
    assert project.rules("""
        op.add_column("posts", sa.Column("a", sa.Integer))
        op.add_column("posts", sa.Column("b", sa.String(10)))
        op.add_column("posts", sa.Column("c", sa.DateTime))
        op.add_column("posts", sa.Column("d", sa.CHAR(10)))
    """) == []  # fmt: skip


def test_transactions_are_followed(project: LintProject):
    """An UPDATE after the commit of an ALTER TABLE holds no lock of it."""
    assert project.rules("""
        op.execute("ALTER TABLE posts ADD COLUMN IF NOT EXISTS slug TEXT")
        with op.get_context().autocommit_block():
            op.execute("UPDATE posts SET slug = '' WHERE id < 100")
    """) == []  # fmt: skip


def test_rows_read_in_parts(project: LintProject):
    """Limits, parts, aggregates and catalogs are not whole tables."""
    assert project.rules("""
        def upgrade():  # asyncdb: safe(not-checked): reads in parts
            connection = op.get_bind()
            statement = sa.select(sa.column("id")).select_from(sa.table("posts"))
            for part in connection.execute(statement.execution_options(yield_per=100)).partitions():
                list(part)
            few = statement.limit(10)
            connection.execute(few).all()
            connection.execute(sa.text("SELECT count(*) FROM posts")).scalar_one()
            rows = connection.execute(sa.text("SELECT relname FROM pg_class")).fetchall()
    """) == []  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "rows = connection.execute(statement).fetchall()",
        "rows = connection.execute(statement)\nfor row in rows.mappings(): pass",
        "ids = [row.id for row in connection.execute(statement)]",
        "ids = set(connection.scalars(statement))",
        "names = {r.id: r for r in sa.orm.Session(connection).query(statement).all()}",
    ],
)
def test_ways_to_load_a_whole_table(project: LintProject, line: str):
    """Directly, by a variable, in a comprehension, through a session."""
    body = "connection = op.get_bind()\nstatement = sa.select(sa.table('posts'))\n" + line
    assert "loads-whole-table" in project.rules(body)


def test_connection_is_asked_for_what_it_can_answer(project: LintProject):
    """Statements that change something are rendered, and types are created, without a database."""
    assert project.rules("""
        connection = op.get_bind()
        if connection.dialect.name == "postgresql":
            sa.Enum("sad", "glad", name="mood").create(connection)
            connection.execute(sa.text("UPDATE posts SET slug = ''"))
    """) == ["whole-table-update"]  # fmt: skip


def test_batches_of_alembic(project: LintProject):
    """Each step of a batch is at its own line; on SQLite, where the table is copied, as well."""
    body = """
        def upgrade():
            with op.batch_alter_table("posts") as posts:
                posts.add_column(sa.Column("title", sa.Text))
                posts.drop_column("slug")
                posts.create_foreign_key("fk", "users", ["user_id"], ["id"])
        """
    path = project.write("a", body)
    found = {
        dialect: [
            (finding.rule, path.read_text().splitlines()[(finding.line or 0) - 1].strip())
            for finding in project.lint(dialect=dialect)
        ]
        for dialect in ("postgresql", "sqlite")
    }
    drop = ("ban-drop-column", 'posts.drop_column("slug")')
    key = 'posts.create_foreign_key("fk", "users", ["user_id"], ["id"])'
    assert found == {"postgresql": [drop, ("adding-foreign-key-constraint", key)], "sqlite": [drop]}


@pytest.mark.parametrize("dialect", ["sqlite", "mysql"])
@pytest.mark.parametrize(
    ("rule", "step"),
    [
        ("adding-required-field", 'posts.add_column(sa.Column("n", sa.Integer, nullable=False))'),
        ("ban-drop-column", 'posts.drop_column("slug")'),
        ("renaming-column", 'op.execute("ALTER TABLE posts RENAME COLUMN slug TO path")'),
        ("renaming-table", 'op.execute("ALTER TABLE posts RENAME TO articles")'),
        ("ban-drop-table", 'op.drop_table("posts")'),
        ("whole-table-update", "op.execute(\"UPDATE posts SET slug = ''\")"),
    ],
)
def test_other_databases(project: LintProject, dialect: str, rule: str, step: str):
    """What breaks on every database is found without squawk."""
    assert project.rules(
        f'with op.batch_alter_table("posts") as posts:\n    {step}', dialect=dialect
    ) == [rule]


def test_dropped_while_the_models_have_it(project: LintProject):
    """Once for each statement; not if it is there again at the end."""
    models = [MODELS]
    assert project.rules('op.drop_column("posts", "slug")', metadata=models) == [
        "dropped-but-mapped"
    ]
    assert project.rules('op.drop_table("public.posts")', metadata=models) == ["dropped-but-mapped"]
    assert project.rules('op.drop_column("posts", "old")', metadata=models) == ["ban-drop-column"]
    project.write(
        "a", 'op.drop_column("posts", "slug")  # asyncdb: safe(ban-drop-column): made anew'
    )
    project.write("b", 'op.add_column("posts", sa.Column("slug", sa.Integer))', after="a")
    assert project.lint(metadata=models) == []


def test_rule_that_is_not_known(project: LintProject):
    """What a newer squawk finds is shown in its own words."""
    [finding] = (project.write("a", 'op.execute("ALTER TABLE posts ADD COLUMN")'), project.lint())[
        1
    ]
    assert (finding.rule, finding.level) == ("syntax-error", "warning")
    assert finding.blocks
    assert finding.safe_way


def test_statements_in_one_text(project: LintProject):
    """Several in one call are several; bodies of functions and texts with semicolons are not."""
    assert project.rules('''
        op.execute("""
            -- First the new table;
            CREATE TABLE tags (name text DEFAULT ';');
            CREATE TABLE labels (name text);
            DROP TABLE posts
        """)
        op.execute("CREATE FUNCTION f() RETURNS void AS $$ SELECT 1; DELETE FROM a; $$ LANGUAGE sql")
    ''') == ["ban-drop-table"]  # fmt: skip


def test_failure_of_a_revision_is_a_finding(project: LintProject):
    """The place and the error; what came before is checked."""
    path = project.write("a", "op.drop_table('posts')\nraise ZeroDivisionError('no')")
    first, second = project.lint()
    assert first.rule == "ban-drop-table"
    assert second.rule == "not-checked"
    assert "There: ZeroDivisionError: no." in second.blocks
    assert "raise" in path.read_text().splitlines()[(second.line or 0) - 1]


# --- Marks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        'op.drop_table("posts")  # asyncdb: safe(ban-drop-table): unused since 1.4',
        '# asyncdb: safe(ban-drop-table): unused since 1.4\nop.drop_table("posts")',
        'op.drop_table(\n    "posts",  # asyncdb: safe(ban-drop-table): unused\n)',
        'if True:\n    # asyncdb: safe(ban-drop-table): unused\n    op.drop_table("posts")',
        'def upgrade():  # asyncdb: safe(ban-drop-table): unused\n    op.drop_table("posts")',
        '# asyncdb: safe(ban-drop-table): unused\ndef upgrade():\n    op.drop_table("posts")',
        'with op.batch_alter_table("posts") as t:  # asyncdb: safe(ban-drop-column): x'
        '\n    t.drop_column("a")',
        'op.execute("DROP TABLE posts; UPDATE x SET y = 1")'
        "  # asyncdb: safe(ban-drop-table, whole-table-update): small",
    ],
)
def test_marks(project: LintProject, body: str):
    """Beside, before, inside of the statement, at a block, or for the whole revision."""
    assert project.rules(body) == []


def test_marks_are_about_one_rule_and_one_statement(project: LintProject):
    """Another finding at the line stays, and the same one at another line."""
    found = project.rules("""
        op.drop_table("posts")  # asyncdb: safe(ban-drop-column): another rule
        # asyncdb: safe(ban-drop-table): this one
        op.drop_table("tags")
        op.drop_table("users")
        text = "# asyncdb: safe(ban-drop-table): no comment"
    """)  # fmt: skip
    assert sorted(found) == ["ban-drop-table", "ban-drop-table", "unused-mark"]


# --- Which revisions ------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    """Run git as a developer without a configuration."""
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


def revisions(project: LintProject, since: str | None) -> list[str]:
    """Return the revisions with findings."""
    return [finding.revision for finding in project.lint(since=since)]


def test_since_a_revision(project: LintProject):
    """Those after it; ``base`` and nothing are all."""
    for name, after in (("a1", None), ("b2", "a1"), ("c3", "b2")):
        project.write(name, f'op.drop_table("{name}")', after=after)
    assert revisions(project, "a1") == ["b2", "c3"]
    assert revisions(project, "head") == []
    assert revisions(project, "base") == revisions(project, None) == ["a1", "b2", "c3"]


def test_since_a_branch(project: LintProject, tmp_path: Path):
    """Committed, staged and new files since the work left the branch; not what the branch got since."""
    repository = project.versions.parents[1]
    git(repository, "init", "-b", "main")
    # A setting of the developer's, by which a similar file is a copy, and not added.
    git(repository, "config", "diff.renames", "copies")
    project.write("a1", 'op.drop_table("posts")')
    git(repository, "add", ".")
    git(repository, "commit", "-m", "first")
    assert main_branch_of(project.config) == "main"
    git(repository, "checkout", "-b", "work")
    for name, after in (("b2", "a1"), ("c3", "b2"), ("d4", "c3")):
        project.write(name, 'op.drop_table("posts")', after=after)
        if name != "d4":
            git(repository, "add", ".")
        if name == "b2":
            # The source of a copy is a file that was changed as well.
            project.write("a1", 'op.drop_table("post")')
            git(repository, "add", ".")
            git(repository, "commit", "-m", "second")
    assert revisions(project, "main") == ["b2", "c3", "d4"]
    assert revisions(project, "HEAD") == ["c3", "d4"]
    git(repository, "clone", "--branch", "work", ".", str(tmp_path / "clone"))
    project.config.set_main_option("script_location", str(tmp_path / "clone" / "migrations"))
    assert main_branch_of(project.config) == "origin/HEAD"


@pytest.mark.parametrize("since", ["nothing", "--help", ""])
def test_since_nothing_that_is_known(project: LintProject, since: str):
    """Neither in a repository nor outside of one is anything else checked instead."""
    project.write("a", 'op.drop_table("posts")')
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=rf"no revision '{since}'.*fetch"):
            project.lint(since=since)
        git(project.versions, "init", "-b", "main")
    assert main_branch_of(project.config) is None


# --- squawk ---------------------------------------------------------------------------------------


def test_project_s_own_configuration_of_squawk(project: LintProject):
    """A .squawk.toml above the revisions counts; one that is broken is an error that names it."""
    file = project.versions.parents[1] / ".squawk.toml"
    file.write_text('excluded_rules = ["ban-drop-table"]\n')
    assert project.rules('op.drop_table("posts")') == []
    file.write_text("nonsense")
    with pytest.raises(ConfigurationError, match=r"squawk failed.*\.squawk\.toml"):
        project.lint()


def test_without_squawk(project: LintProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """PostgreSQL needs it, and the message has the command; SQLite does not."""
    project.write("a", 'op.drop_table("posts")')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(squawk.sys, "executable", str(tmp_path / "python"))  # type: ignore[attr-defined]
    assert [finding.rule for finding in project.lint(dialect="sqlite")] == ["ban-drop-table"]
    with pytest.raises(MissingExtra, match=r"pip install 'fastapi-asyncdb\[lint\]'"):
        project.lint()


def test_squawk_is_found_beside_the_interpreter(
    project: LintProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """An environment need not be activated."""
    found = Path(squawk.find_squawk())
    (tmp_path / "bin").mkdir()
    shutil.copy(found, tmp_path / "bin" / found.name)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(squawk.sys, "executable", str(tmp_path / "bin" / "python"))  # type: ignore[attr-defined]
    assert project.rules('op.drop_table("posts")') == ["ban-drop-table"]


# --- What the rules say, on PostgreSQL ------------------------------------------------------------

LOCKED = [
    ("require-concurrent-index-creation", "CREATE INDEX i ON posts (slug)", "SHARE"),
    ("require-concurrent-index-deletion", "DROP INDEX ix", "ACCESS EXCLUSIVE"),
    (
        "adding-foreign-key-constraint",
        "ALTER TABLE posts ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES users",
        "SHARE ROW EXCLUSIVE",
    ),
    (
        "constraint-missing-not-valid",
        "ALTER TABLE posts ADD CONSTRAINT ck CHECK (slug > '')",
        "ACCESS EXCLUSIVE",
    ),
    ("disallowed-unique-constraint", "ALTER TABLE posts ADD UNIQUE (slug)", "ACCESS EXCLUSIVE"),
    ("adding-not-nullable-field", "ALTER TABLE posts ALTER slug SET NOT NULL", "ACCESS EXCLUSIVE"),
    (
        "adding-field-with-default",
        "ALTER TABLE posts ADD t uuid DEFAULT gen_random_uuid()",
        "ACCESS EXCLUSIVE",
    ),
    ("changing-column-type", "ALTER TABLE posts ALTER id TYPE bigint", "ACCESS EXCLUSIVE"),
    ("update-under-lock", "ALTER TABLE posts ADD n int", "ACCESS EXCLUSIVE"),
]
_TABLES = (
    "CREATE TABLE users (id int PRIMARY KEY)",
    "CREATE TABLE posts (id int PRIMARY KEY, slug text, user_id int)",
    "CREATE INDEX ix ON posts (slug)",
)


@pytest.mark.parametrize(("rule", "sql", "mode"), LOCKED, ids=[each[0] for each in LOCKED])
async def test_locks_are_those_that_the_rules_name(
    postgres_url: str, rule: str, sql: str, mode: str
):
    """The server's own view of the strongest lock on the table."""
    async with (
        Database(DatabaseSettings(url=postgres_url)) as database,
        database.engine.connect() as connection,
    ):
        for statement in _TABLES:
            await connection.execute(sa.text(statement))
        await connection.commit()
        await connection.execute(sa.text(sql))
        held = sa.text(
            "SELECT mode FROM pg_locks WHERE relation = 'posts'::regclass AND pid = pg_backend_pid()"
        )
        modes = {row.mode for row in await connection.execute(held)}
    assert mode.title().replace(" ", "") + "Lock" in modes
    assert re.search(rf"\b{mode}\b", RULES[rule].blocks)


_BEFORE = """
op.create_table("users", sa.Column("id", sa.Integer, primary_key=True))
state = sa.Enum("draft", name="state")
op.create_table(
    "posts", sa.Column("id", sa.Integer, primary_key=True), sa.Column("author_id", sa.Integer),
    sa.Column("title", sa.Text), sa.Column("slug", sa.Text), sa.Column("state", state))
op.execute("INSERT INTO posts (title) SELECT 'Post ' || n FROM generate_series(1, 2500) AS n")
"""


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_safe_ways_of_the_page_run(project: LintProject, database_url: str):
    """One revision after the other, with nothing found."""
    project.write("r0", _BEFORE)
    steps = [code for code in re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL) if "def up" in code]
    # The marks come first on the page; the backfill fills the column that must not be NULL.
    for number, code in enumerate(steps[1:], start=1):
        project.write(f"r{number}", code, after=f"r{number - 1}")
    assert [str(finding) for finding in project.lint(since="r0")] == []
    folder = project.versions.parents[1]
    (folder / "pyproject.toml").write_text("[tool.fastapi-asyncdb]\n")
    config = MigrationConfig.load(file=folder / "pyproject.toml")
    applied = await Migrator(config, source=Source(DatabaseSettings(url=database_url))).upgrade()
    assert len(applied) == len(steps) == 7


async def test_enum_value_cannot_be_used_in_its_transaction(postgres_url: str):
    """The upgrade fails, as the rule says."""
    async with (
        Database(DatabaseSettings(url=postgres_url)) as database,
        database.engine.connect() as connection,
    ):
        await connection.execute(sa.text("CREATE TYPE mood AS ENUM ('sad')"))
        await connection.commit()
        await connection.execute(sa.text("ALTER TYPE mood ADD VALUE 'glad'"))
        with pytest.raises(DBAPIError, match="unsafe use of new value"):
            await connection.execute(sa.text("SELECT 'glad'::mood"))
