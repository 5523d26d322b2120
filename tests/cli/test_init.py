"""``asyncdb init``: from an application without migrations to the first revision."""

import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import CONFIGURATION, MODELS, Command, Project
from tests.support.databases import LONG

NEW = {
    "pyproject.toml",
    "alembic.ini",
    "migrations/env.py",
    "migrations/script.py.mako",
    "migrations/versions/.gitkeep",
    "tests/conftest.py",
    "tests/test_migrations.py",
}


@pytest.mark.databases(*LONG)
def test_from_models_to_tables_and_back(
    asyncdb_process: Command, project: Project, database_url: str
):
    """Three commands after init, as real processes; plain Alembic works on the same folder."""
    on = {"DATABASE_URL": database_url}
    assert asyncdb_process("init", "--yes", **on).code == 0
    written = asyncdb_process("revision", "-m", "first tables", **on)
    assert "migrations/versions/" in written.out
    upgraded = asyncdb_process("upgrade", **on)
    assert (upgraded.code, "first tables" in upgraded.out) == (0, True)
    assert asyncdb_process("check", **on).code == 0
    down = asyncdb_process("downgrade", "base", **on)
    assert (down.code, "base: no revision" in down.words) == (0, True)
    assert asyncdb_process("upgrade", "head", module="alembic", **on).code == 0


def test_tests_of_the_migrations_pass(asyncdb: Command, asyncdb_process: Command, project: Project):
    """What init writes for pytest is complete."""
    assert asyncdb("init", "--yes", "--no-verify").code == 0
    project.revise()
    ended = asyncdb_process("-q", "-p", "no:cacheprovider", "tests", module="pytest")
    assert "5 passed" in ended.words, ended.words


def test_the_diff_comes_first(asyncdb: Command, project: Project):
    """--dry-run shows it and writes nothing; so does a no, and no answer."""
    before = project.files()
    shown = asyncdb("init", "--dry-run", "--no-verify")
    assert shown.code == 0
    assert '+metadata = "shop.models"' in shown.out
    assert "Write 7 files?" not in shown.words
    for answer in ("n\n", ""):
        refused = asyncdb("init", "--no-verify", stdin=answer)
        assert (refused.code, "Write 7 files?" in refused.words) == (1, True)
        assert project.files() == before
    assert "Add --yes" in refused.words
    assert asyncdb("init", "--no-verify", stdin="y\n").code == 0
    assert project.files() == before | NEW


def test_a_second_run_changes_nothing(asyncdb: Command, project: Project):
    """Nothing is asked, nothing is written."""
    assert asyncdb("init", "--yes", "--no-verify").code == 0
    before = {name: project.read(name) for name in project.files()}
    again = asyncdb("init", "--no-verify")
    assert (again.code, "Nothing to write" in again.words) == (0, True)
    assert {name: project.read(name) for name in project.files()} == before


def test_files_that_exist_are_extended(asyncdb: Command, project: Project):
    """Comments, other tools and lines of the user stay."""
    project.write(
        "pyproject.toml",
        '[project]\nname = "shop"  # ours\n\n[tool.pytest.ini_options]\naddopts = "-q"\n'
        'asyncio_mode = "auto"\n\n[tool.fastapi-asyncdb] # also ours\nseed = "shop.seed:seed"\n',
    )
    ours = ("tests/conftest.py", "tests/test_migrations.py")
    for name in ours:
        project.write(name, "# ours\n")
    assert asyncdb("init", "--yes", "--no-verify").code == 0
    text = project.read("pyproject.toml")
    assert 'name = "shop"  # ours' in text
    assert "[tool.fastapi-asyncdb] # also ours" in text
    tools = tomllib.loads(text)["tool"]
    assert tools["fastapi-asyncdb"] == {
        "seed": "shop.seed:seed",
        "app": "shop.main:app",
        "metadata": "shop.models",
    }
    assert tools["pytest"]["ini_options"] == {
        "addopts": "-q",
        "asyncio_mode": "auto",
        "asyncdb_app": "shop.main:app",
        "asyncdb_alembic": "alembic.ini",
        "asyncdb_migrations_since": "base",
        "pythonpath": ["."],
    }
    assert all(project.read(name) == "# ours\n" for name in ours)


@pytest.mark.parametrize(
    ("file", "section"),
    [("pytest.ini", "pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")],
)
def test_pytest_is_configured_where_it_looks(
    asyncdb: Command, project: Project, file: str, section: str
):
    """Lines in another file than the one that pytest reads would have no effect."""
    project.write(file, f"[{section}]\naddopts = -q\n")
    assert asyncdb("init", "--yes", "--no-verify").code == 0
    assert "asyncdb_app = shop.main:app\nasyncdb_alembic = alembic.ini\n" in project.read(file)
    assert "pytest" not in tomllib.loads(project.read("pyproject.toml"))["tool"]


def test_a_form_that_cannot_be_edited_is_left_alone(asyncdb: Command, project: Project):
    """The lines are shown instead."""
    project.write("pyproject.toml", 'tool = { fastapi-asyncdb = { seed = "shop.seed:seed" } }\n')
    ended = asyncdb("init", "--yes", "--no-tests", "--no-verify")
    assert (
        "Add these lines to pyproject.toml, which init cannot edit: [tool.fastapi-asyncdb]"
        in ended.words
    )
    assert project.read("pyproject.toml").startswith("tool = {")


@pytest.mark.parametrize(
    ("ini", "script", "line"),
    [
        ("alembic.ini", "alembic", None),
        ("shop/db/alembic.ini", "shop/db/alembic", ("alembic", "shop/db/alembic.ini")),
        (None, "alembic", ("migrations", "alembic")),
    ],
)
def test_migrations_that_exist_are_adopted(
    asyncdb: Command,
    project: Project,
    ini: str | None,
    script: str,
    line: tuple[str, str] | None,
):
    """No file of theirs is written, wherever they are."""
    if ini is not None:
        project.write(ini, "[alembic]\nscript_location = %(here)s/alembic\n")
    project.write(f"{script}/env.py", "from alembic import context\n")
    project.write(f"{script}/script.py.mako", "")
    before = {name: project.read(name) for name in project.files()}
    ended = asyncdb("init", "--yes", "--no-verify")
    assert (ended.code, "are adopted" in ended.words) == (0, True)
    assert {name: project.read(name) for name in before} == before
    assert project.files() - set(before) == {"pyproject.toml", "tests/conftest.py"}
    table = tomllib.loads(project.read("pyproject.toml"))["tool"]["fastapi-asyncdb"]
    assert table == {
        "app": "shop.main:app",
        "metadata": "shop.models",
        **dict([line] if line else []),
    }


@pytest.mark.parametrize("in_git", [True, False])
def test_which_revisions_are_new(asyncdb: Command, project: Project, in_git: bool):
    """Git knows; without it the test of their safety looks at all of them."""
    if in_git:
        project.write(".git/HEAD", "ref: refs/heads/main\n")
    assert asyncdb("init", "--yes", "--no-verify").code == 0
    configuration = tomllib.loads(project.read("pyproject.toml"))["tool"]["pytest"]["ini_options"]
    assert configuration.get("asyncdb_migrations_since") == (None if in_git else "base")


def test_src_layout(asyncdb: Command, project: Project):
    """Modules are named from the folder src, which the commands put on the import path."""
    (project.folder / "src").mkdir()
    (project.folder / "shop").rename(project.folder / "src" / "shop")
    assert asyncdb("init", "--yes").code == 0
    table = tomllib.loads(project.read("pyproject.toml"))["tool"]["fastapi-asyncdb"]
    assert table == {"app": "shop.main:app", "metadata": "shop.models"}
    assert "first_tables.py" in asyncdb("revision", "-m", "first tables").out


def test_a_further_database(asyncdb: Command, project: Project):
    """Its lines and its folder have its name."""
    project.write("shop/reports.py", MODELS.replace("products", "reports"))
    command = [
        "--database",
        "reports",
        "init",
        "--metadata",
        "shop.reports",
        "--yes",
        "--no-verify",
    ]
    assert asyncdb(*command).code == 0
    databases = tomllib.loads(project.read("pyproject.toml"))["tool"]["fastapi-asyncdb"][
        "databases"
    ]
    assert databases == {
        "reports": {"metadata": "shop.reports", "migrations": "migrations_reports"}
    }
    assert "migrations_reports/env.py" in project.files()
    assert "Nothing to write" in asyncdb(*command).words


# --- Several, or none -----------------------------------------------------------------------------


def test_several_applications(asyncdb: Command, project: Project):
    """They are listed with their places; --app names one."""
    project.write("shop/admin.py", "import fastapi\n\nadmin: fastapi.FastAPI = fastapi.FastAPI()\n")
    ended = asyncdb("init", "--yes")
    assert ended.code == 2
    for words in ("shop.admin:admin", "shop/admin.py:3", "shop.main:app", "asyncdb init --app"):
        assert words in ended.words
    assert "pyproject.toml" not in project.files()
    assert asyncdb("init", "--yes", "--no-verify", "--app", "shop.admin:admin").code == 0
    assert 'app = "shop.admin:admin"' in project.read("pyproject.toml")


def test_several_bases(asyncdb: Command, project: Project):
    """Two declarative bases may be two databases: --metadata names the models of this one."""
    project.write("shop/reports.py", MODELS.replace("products", "reports"))
    ended = asyncdb("init", "--yes")
    assert (ended.code, "There are 2 sets of models" in ended.words) == (2, True)
    both = ["--metadata", "shop.models", "--metadata", "shop.reports"]
    assert asyncdb("init", "--yes", *both).code == 0
    assert 'metadata = ["shop.models", "shop.reports"]' in project.read("pyproject.toml")


def test_no_models(asyncdb: Command, project: Project):
    """It says what to write."""
    project.write("shop/models.py", "class Product:\n    pass\n")
    ended = asyncdb("init", "--yes")
    assert ended.code == 1
    for words in ("No models were found", "from fastapi_asyncdb import Base", "--metadata"):
        assert words in ended.words


def test_no_application(asyncdb: Command, project: Project):
    """Workers have models and no FastAPI instance."""
    project.write("shop/main.py", "")
    ended = asyncdb("init", "--yes")
    assert (ended.code, "No FastAPI instance was found" in ended.words) == (0, True)
    assert "app =" not in project.read("pyproject.toml")


# --- What cannot be imported ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("shop/models.py", f"{MODELS}\nimport nothing_of_this_name\n", "shop/models.py:14"),
        ("shop/main.py", "from fastapi import FastAPI\napp = FastAPI()\n1 / 0\n", "shop/main.py:3"),
        (
            "shop/main.py",
            "from fastapi import FastAPI\nimport os\napp = FastAPI()\nos._exit(3)\n",
            "(3)",
        ),
    ],
)
def test_what_does_not_import_is_named_with_its_line(
    asyncdb: Command, project: Project, file: str, text: str, words: str
):
    """Nothing is written; --no-verify does without the imports."""
    project.write(file, text)
    ended = asyncdb("init", "--yes")
    assert ended.code == 1
    assert words in ended.words
    assert "--no-verify" in ended.words
    assert "pyproject.toml" not in project.files()
    assert asyncdb("init", "--yes", "--no-verify").code == 0


def test_files_that_are_no_python_are_named(asyncdb: Command, project: Project):
    """They are left out, with a warning: the models may be in there."""
    project.write("shop/draft.py", "class Product(:\n")
    ended = asyncdb("init", "--dry-run", "--no-verify")
    assert ended.code == 0
    assert "Warning: shop/draft.py:1:" in ended.words


def test_output_of_the_application_is_not_mixed_in(asyncdb_process: Command, project: Project):
    """An application may print when it is imported."""
    project.write("shop/main.py", "print('noise')\nfrom fastapi import FastAPI\napp = FastAPI()\n")
    ended = asyncdb_process("init", "--dry-run")
    assert (ended.code, "noise" in ended.words) == (0, False)


def test_the_project_is_that_of_the_repository(
    asyncdb: Command, project: Project, monkeypatch: pytest.MonkeyPatch
):
    """In a folder below, the nearest pyproject.toml is extended; none outside of the repository."""
    project.write("pyproject.toml", CONFIGURATION)
    monkeypatch.chdir(project.folder / "shop")
    assert asyncdb("init", "--yes", "--no-verify").code == 0
    assert (project.folder / "alembic.ini").is_file()
    inner = project.folder / "inner"
    Path(inner, ".git").mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert "No models were found in" in asyncdb("init").words
