"""The commands of Alembic: what they do, print and return."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import MODELS, Command, Project

COLUMN = MODELS + "    price: Mapped[int | None]\n"


@pytest.fixture(autouse=True)
def configured(project: Project) -> None:
    """The project has a configuration."""
    project.configure()


def json_of(asyncdb: Command, *arguments: str):
    """Return what a command prints for machines."""
    return json.loads(asyncdb(*arguments, "--json").out)


def test_upgrade_shows_each_revision_and_its_time(asyncdb: Command, project: Project):
    """In their order; a second run has nothing to do."""
    project.revise()
    project.revise(id="0002", doc="nothing", after="0001", upgrade="pass", downgrade="pass")
    lines = asyncdb("upgrade").out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["0001", "0002"]
    assert lines[0].endswith("s  first tables")
    assert lines[2] == "The database is at 0002."
    assert asyncdb("upgrade").out == "Nothing to do: the database is at 0002.\n"


def test_upgrade_that_is_interrupted(asyncdb: Command, project: Project):
    """The message says what has become of the revision; the exit code is that of Ctrl-C."""
    project.revise()
    project.revise(id="0002", doc="slow", after="0001", upgrade="raise KeyboardInterrupt")
    ended = asyncdb("upgrade")
    assert (ended.code, "The revision that ran is rolled back" in ended.words) == (130, True)
    assert asyncdb("current").out.startswith("0001")


def test_upgrade_for_machines(asyncdb: Command, project: Project):
    """The revisions with their seconds, and where the database is."""
    project.revise()
    result = json_of(asyncdb, "upgrade")
    assert [each["revision"] for each in result["revisions"]] == ["0001"]
    assert result["revisions"][0]["seconds"] > 0
    assert result["current"] == ["0001"]


def test_downgrade(asyncdb: Command, project: Project):
    """To a revision, or by a number, which is no option; the target is required."""
    project.revise()
    project.revise(id="0002", after="0001", upgrade="pass", downgrade="pass")
    asyncdb("upgrade")
    assert asyncdb("downgrade").code == 2
    assert asyncdb("downgrade", "-1").out.splitlines()[-1] == "The database is at 0001."
    assert json_of(asyncdb, "downgrade", "base")["current"] == []


def test_current(asyncdb: Command, project: Project):
    """The revision, and whether it is the newest."""
    project.revise()
    assert "no migration has run" in asyncdb("current").words
    assert json_of(asyncdb, "current") == {"current": [], "heads": ["0001"], "up_to_date": False}
    asyncdb("upgrade")
    assert asyncdb("current").out == "0001 (head)  first tables\n"
    assert json_of(asyncdb, "current")["up_to_date"] is True


def test_stamp(asyncdb: Command, project: Project):
    """It notes a revision and runs none."""
    project.revise()
    assert asyncdb("stamp", "head").code == 0
    assert json_of(asyncdb, "current")["current"] == ["0001"]
    assert asyncdb("check").code == 1


def test_history_and_heads(asyncdb: Command, project: Project):
    """The newest first, a range of them, and the one of the database."""
    project.write("migrations/versions/.gitkeep", "")
    assert "no revision yet" in asyncdb("history").words
    project.revise()
    project.revise(id="0002", doc="nothing", after="0001", upgrade="pass", downgrade="pass")
    asyncdb("upgrade", "0001")
    lines = asyncdb("history", "-i").out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["0002", "0001", "nothing", "head"],
        ["0001", "base", "first", "tables", "current"],
    ]
    entries = json_of(asyncdb, "history", "--range", "0001:head")
    assert [(entry["revision"], entry["parents"]) for entry in entries] == [
        ("0002", ["0001"]),
        ("0001", []),
    ]
    assert [entry["revision"] for entry in json_of(asyncdb, "heads")] == ["0002"]


def test_two_heads_are_merged(asyncdb: Command, project: Project):
    """Two branches of git have each added a revision: the message names the command."""
    project.revise()
    assert "Nothing to merge" in asyncdb("merge").words
    for name in ("0002", "0003"):
        project.revise(id=name, after="0001", upgrade="pass", downgrade="pass")
    refused = asyncdb("upgrade")
    assert (refused.code, "asyncdb merge" in refused.words) == (1, True)
    merged = asyncdb("merge", "-m", "join both")
    assert merged.out.strip().endswith("_join_both.py")
    assert Path(merged.out.strip()).is_file()
    assert asyncdb("upgrade").code == 0


def test_revision_from_the_models(asyncdb: Command, project: Project):
    """From the differences; none is written without any, unless it is to be empty."""
    project.revise()
    behind = asyncdb("revision", "-m", "prices")
    assert (behind.code, "Run 'asyncdb upgrade' first" in behind.words) == (1, True)
    asyncdb("upgrade")
    assert "No revision was written" in asyncdb("revision", "-m", "prices").words
    written = asyncdb("revision", "--empty", "-m", "prices", "--rev-id", "0002")
    assert written.out == "migrations/versions/0002_prices.py\n"
    assert 'down_revision: str | Sequence[str] | None = "0001"' in project.read(
        written.out.strip()
    ).replace("'", '"')


def test_check_says_how_models_and_schema_differ(asyncdb: Command, project: Project):
    """It ends with 1, and with 0 once they agree."""
    project.revise()
    pending = asyncdb("check")
    assert (pending.code, "Migrations are pending" in pending.words) == (1, True)
    asyncdb("upgrade")
    assert asyncdb("check").code == 0
    assert json_of(asyncdb, "check") == {"pending": None, "differences": []}


def test_check_finds_a_column_that_is_missing(asyncdb: Command, project: Project):
    """The line names the table, the column, and where it is."""
    project.write("shop/models.py", COLUMN)
    project.revise()
    asyncdb("upgrade")
    ended = asyncdb("check")
    assert ended.code == 1
    assert "price" in ended.out
    assert "asyncdb revision -m MESSAGE" in ended.out
    assert len(json_of(asyncdb, "check")["differences"]) == 1


def test_models_that_no_line_imports_are_named(asyncdb: Command, project: Project):
    """Their tables would be dropped by the next revision; those of another base are not meant."""
    project.write("pyproject.toml", '[tool.fastapi-asyncdb]\nmetadata = "shop.models:Base"\n')
    project.write("shop/others.py", MODELS.replace("products", "others"))
    project.revise()
    asyncdb("upgrade")
    assert "Warning" not in asyncdb("check").words
    project.write(
        "shop/orders.py",
        "from shop.models import Base, Mapped, mapped_column\n\n\nclass Order(Base):\n"
        '    __tablename__ = "orders"\n    id: Mapped[int] = mapped_column(primary_key=True)\n',
    )
    for command in (["check"], ["revision", "-m", "orders"]):
        ended = asyncdb(*command)
        assert ended.code == 0
        assert "Warning: shop/orders.py:4 has a model that is not imported" in ended.words
        assert 'Add "shop.orders"' in ended.words


def test_sql_needs_no_database(
    asyncdb: Command, project: Project, monkeypatch: pytest.MonkeyPatch, unused_port: int
):
    """The SQL of the dialect in DATABASE_URL, of all revisions or of a part."""
    project.revise()
    project.revise(id="0002", after="0001", upgrade='op.execute("SELECT 2")', downgrade="pass")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://ada@127.0.0.1:{unused_port}/shop")
    assert "id SERIAL NOT NULL" in asyncdb("sql").out
    part = asyncdb("sql", "--from", "0001", "0002").out
    assert ("SELECT 2" in part, "CREATE TABLE products" in part) == (True, False)


def test_a_further_database_has_revisions_of_its_own(asyncdb: Command, project: Project):
    """--database chooses its folder and its Database."""
    project.write("shop/reports.py", MODELS.replace("products", "reports"))
    file = project.folder / "reports.db"
    project.write(
        "shop/db.py",
        "from fastapi_asyncdb import Database, DatabaseSettings\n"
        f'reports = Database(DatabaseSettings(url="sqlite:///{file}"))\n',
    )
    project.configure(
        '[tool.fastapi-asyncdb.databases.reports]\nmetadata = "shop.reports"\n'
        'database = "shop.db:reports"\nmigrations = "migrations_reports"\n'
    )
    (project.folder / "migrations_reports" / "versions").mkdir(parents=True)
    assert asyncdb("--database", "reports", "revision", "-m", "first").code == 0
    assert asyncdb("--database", "reports", "upgrade").code == 0
    with sqlite3.connect(file) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    assert {"reports", "alembic_version"} <= names
