"""The code of the documentation runs, and its tables agree with the package."""

import asyncio
import importlib
import json
import logging
import re
import runpy
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_origin
from uuid import uuid4

import pytest
from fastapi import FastAPI
from pydantic_settings import BaseSettings
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

import fastapi_asyncdb
from fastapi_asyncdb import Base, Credentials, DatabaseSettings, create_lifespan
from fastapi_asyncdb.dialects.mysql.doctor import DOCTOR as MYSQL
from fastapi_asyncdb.dialects.postgresql.doctor import DOCTOR as POSTGRESQL
from fastapi_asyncdb.dialects.sqlite.doctor import DOCTOR as SQLITE
from fastapi_asyncdb.doctor import Thresholds
from fastapi_asyncdb.extras.mongo import MongoSettings
from fastapi_asyncdb.extras.redis import RedisSettings, cache_lifespan
from fastapi_asyncdb.testing.servers.mariadb import has_mariadb
from fastapi_asyncdb.web.problems.kinds import KINDS
from tests.support.application import running
from tests.support.databases import ONE_DRIVER
from tests.support.mongo_wire import mongo_wire

pytestmark = pytest.mark.databases(*ONE_DRIVER)

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = ROOT / "README.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
SKILL = ROOT / "fastapi_asyncdb" / ".agents" / "skills" / "fastapi-asyncdb"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted(SKILL.rglob("*.md"))]
ADOPTION = ROOT / "tests" / "adoption"
"""Projects whose own tests run their code, with libraries that are not installed here."""
COMING_FROM = DOCS / "coming-from"


def name(page: Path) -> str:
    """Return a page's path from the root, as a test's id."""
    return str(page.relative_to(ROOT).with_suffix(""))


def blocks(page: Path) -> list[str]:
    """Return the page's blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def run(block: str, page: Path = README) -> dict[str, Any]:
    """Run one block as a module of its own."""
    module = types.ModuleType(f"{page.stem.lower()}_{uuid4().hex}")
    # Pydantic looks up the module that a generic model such as Page[UserOut] is made in.
    sys.modules[module.__name__] = module
    exec(compile(block, str(page), "exec"), vars(module))
    return vars(module)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each block runs in an empty folder, and what it declares or configures is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fastapi_asyncdb.default_database, "settings", None)
    known = set(Base.metadata.tables)
    yield
    for name in set(Base.metadata.tables) - known:
        Base.metadata.remove(Base.metadata.tables[name])


@pytest.fixture(autouse=True)
def _no_models_of_sqlmodel(monkeypatch: pytest.MonkeyPatch):
    """Each block may declare the same models, with the same names in relationships."""
    own = registry()
    monkeypatch.setattr(SQLModel, "_sa_registry", own)
    monkeypatch.setattr(SQLModel, "metadata", own.metadata)


@pytest.fixture
def mongodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A MongoDB, where the environment says."""
    with mongo_wire() as wire:
        monkeypatch.setenv("MONGO_URL", wire.url)
        yield


@pytest.fixture(autouse=True)
def _logging_as_before():
    """A block may configure logging, as an application would."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    named = {name: logging.getLogger(name).level for name in ("sqlalchemy", "sqlalchemy.pool")}
    yield
    root.setLevel(level)
    root.handlers[:] = handlers
    for name, before in named.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page, block, id=f"{name(page)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page))
    ],
)
def test_every_block_runs(page: Path, block: str, request: pytest.FixtureRequest):
    """Newcomers paste it: it has to work as it stands."""
    if "mariadb_server" in block and not has_mariadb():
        pytest.skip("MariaDB is not installed: apt-get install mariadb-server")
    if "redis_server" in block:
        request.getfixturevalue("redis_url")  # skips where the program is missing
    if "extras.mongo" in block:
        request.getfixturevalue("mongodb")
    run(block, page)


def excerpts(page: Path) -> list[tuple[str, str]]:
    """Return the blocks that name a file of tests/adoption beside their language, and these files."""
    found = re.finditer(r"^```python (\S+)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [(each[1], each[2]) for each in found]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if excerpts(page)], ids=lambda page: name(page)
)
def test_excerpts_are_in_their_files(page: Path):
    """Code for other libraries runs in a project of tests/adoption; a line ``...`` leaves some out."""
    for file, block in excerpts(page):
        source, start = f"\n{(ADOPTION / file).read_text()}", 0
        for piece in re.split(r"^\.\.\.\n", block, flags=re.MULTILINE):
            lines = f"\n{piece.strip()}\n"
            assert lines in source[start:], (
                f"{file} has no such lines, or not in this order:{lines}"
            )
            start = source.index(lines, start)


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code: ``Repository[User](session)`` is no link."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: explicit ones, and those that GitHub makes from headings."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    words = (re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return {*words, *re.findall(r'<a id="(.+?)"></a>', text)}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_between_pages_lead_somewhere(page: Path):
    """A page or a section that is renamed is renamed everywhere."""
    broken = []
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose(page)):
        target = page.parent / link if link else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(f"{link}#{anchor}")
    assert broken == []


@pytest.mark.parametrize("folder", [DOCS, COMING_FROM], ids=lambda folder: folder.name)
def test_index_has_every_page(folder: Path):
    """One line for each page of a folder."""
    linked = re.findall(
        r"^\| \[.+?\]\((\w[\w-]*\.md)\) \|", (folder / "README.md").read_text(), re.MULTILINE
    )
    assert sorted(linked) == sorted({page.name for page in folder.glob("*.md")} - {"README.md"})


def test_indexes_are_found():
    """The README leads to one, and that to the other."""
    assert "(docs/README.md)" in README.read_text()
    assert "(coming-from/README.md)" in (DOCS / "README.md").read_text()
    assert set(COMING_FROM.glob("*.md")) <= set(PAGES)


@pytest.mark.parametrize("project", ["coming_from", "coming_from_template"])
def test_tables_of_what_changes(project: str):
    """What a project measures stands on its page, row by row."""
    tables = runpy.run_path(str(ADOPTION / project / "behaviour.py"))["PAGES"]
    for page, rows in tables.items():
        shown = re.findall(
            r"^\| .+? \| .+? \| .+? \|$", (COMING_FROM / page).read_text(), re.MULTILINE
        )
        assert [row for row in shown if row in rows] == rows, page


def test_skill_has_the_front_matter_that_agents_read():
    """Its name is that of its folder, and a description of one line says when to use it."""
    text = (SKILL / "SKILL.md").read_text()
    _, front, body = text.split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in front.splitlines())
    assert fields.keys() == {"name", "description"}
    assert fields["name"] == SKILL.name
    assert 0 < len(fields["description"]) <= 1024
    assert {f"references/{page.name}" for page in SKILL.glob("references/*")} <= set(
        re.findall(r"\]\((.+?)\)", body)
    )


def test_readme_stays_short():
    """Start, use, promises and links; everything else has a page."""
    assert len(README.read_text().splitlines()) <= 175


def test_documented_loggers_exist():
    """A name that an application configures is one that the library logs by."""
    text = "".join(page.read_text() for page in DOCS.glob("*.md"))
    names = re.findall(
        r"^\| `(fastapi_asyncdb(?:\.\w+)+)` \| ", (DOCS / "database.md").read_text(), re.MULTILINE
    )
    assert len(names) >= 8
    assert "fastapi_asyncdb.pool.checkout_warnings" in text
    for logger in names:
        assert importlib.import_module(logger).logger.name == logger


async def test_the_application_stores_a_hero(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """The first block is a working application, on SQLite and with DATABASE_URL on PostgreSQL."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    app: FastAPI = run(blocks(README)[0])["app"]
    for expected in (["ada"], ["ada", "ada"]):
        async with running(app) as http:
            assert (await http.post("/heroes", params={"name": "ada"})).status_code == 201
            assert (await http.get("/heroes")).json() == expected


async def test_the_application_with_several_databases_answers():
    """Two databases, one lifespan, its state."""
    app: FastAPI = run(blocks(DOCS / "database.md")[1])["app"]
    async with running(app) as http:
        assert (await http.get("/")).json() == 42


async def test_the_application_with_hooks_tells_of_what_was_committed():
    """Before the response, in the background, and after a rollback."""
    namespace = run(blocks(DOCS / "hooks.md")[0])
    async with running(namespace["app"]) as http:
        assert (await http.post("/orders", params={"item": "tea"})).status_code == 201
        assert (await http.post("/orders", params={"item": "nothing"})).status_code == 500
    assert namespace["sent"] == ["ordered tea", "mailed tea", "refused nothing"]


@pytest.mark.usefixtures("mongodb")
async def test_the_application_with_mongodb_answers():
    """Its routes, and the answers that its comments promise."""
    async with running(run(blocks(DOCS / "mongodb.md")[0])["app"]) as http:
        note = {"slug": "tea", "title": "Tea", "text": "water and leaves", "topic": "drinks"}
        created = (await http.post("/notes", json=note)).json()
        taken = await http.post("/notes", json=note)
        assert (taken.status_code, taken.json()["detail"]) == (409, "The slug is taken.")
        assert (await http.get(f"/notes/{created['id']}")).json() == created
        assert (await http.get("/notes/nonsense")).status_code == 422
        assert (await http.get("/notes")).json()["items"] == [created]
        assert (await http.get("/notes/search", params={"text": "leaves"})).json() == [created]
        assert (await http.get("/notes/topics")).json() == [{"topic": "drinks", "notes": 1}]


@pytest.mark.usefixtures("mongodb")
async def test_transfers_with_mongodb():
    """In one transaction, as often as it takes."""
    namespace = run(blocks(DOCS / "mongodb.md")[2])
    async with running(namespace["app"]) as http:
        assert (await http.post("/accounts")).status_code == 201
        transfers = [http.post("/transfers", params={"amount": 2}) for _ in range(3)]
        assert [each.status_code for each in await asyncio.gather(*transfers)] == [200] * 3
        async with namespace["default_mongo"].session() as session:
            ada = await namespace["Accounts"](session).find_one(owner="ada")
            assert ada.balance == 4


async def test_the_application_with_filters_answers():
    """The requests of the page's table."""
    page = DOCS / "filters.md"
    async with running(run(blocks(page)[0])["app"]) as http:
        requests = re.findall(r"^\| `(/stories\?.+?)` \|", page.read_text(), re.MULTILINE)
        assert len(requests) == 8
        for request in requests:
            assert (await http.get(request)).json()["items"] == [], request
        assert (await http.get("/stories?titel=Tea")).status_code == 422


async def test_soft_deletion_of_customers():
    """A deleted one is left out, its address is free, and it comes back."""
    async with running(run(blocks(DOCS / "models.md")[2])["app"]) as http:
        first = (await http.post("/customers", params={"email": "ada"})).json()
        assert (await http.delete(f"/customers/{first}")).status_code == 200
        assert (await http.delete(f"/customers/{first}")).status_code == 404
        assert (await http.get("/customers/deleted")).json() == ["ada"]
        assert (await http.post("/customers", params={"email": "ada"})).status_code == 200
        assert (await http.post(f"/customers/{first}/restore")).status_code == 500  # taken


async def test_models_of_the_first_block():
    """Timestamps and keys of an application's models."""
    async with running(run(blocks(DOCS / "models.md")[0])["app"]) as http:
        for old, new in (("soup", "stew"), ("stew", "goulash"), ("bread", "toast")):
            answer = (await http.put(f"/recipes/{old}", params={"new": new})).json()
            assert datetime.fromisoformat(answer["updated_at"]).tzinfo is not None
        assert (await http.get("/recipes")).json() == ["goulash", "toast"]


async def test_audit_knows_who_changed_a_contract():
    """The user of the request, in columns that can be read at once."""
    async with running(run(blocks(DOCS / "models.md")[3])["app"]) as http:
        for user, expected in (("ada", ["ada", "ada"]), ("bob", ["ada", "bob"])):
            request = {"params": {"text": f"by {user}"}, "headers": {"X-User": user}}
            assert (await http.put("/contracts/1", **request)).json() == expected  # type: ignore[arg-type]


async def test_models_of_sqlmodel():
    """A table model is body and response, and its session is SQLModel's."""
    async with running(run(blocks(DOCS / "models.md")[4])["app"]) as http:
        pet = (await http.post("/pets", json={"name": "Rex"})).json()
        assert pet["name"] == "Rex"
        assert (await http.get("/pets")).json() == ["Rex"]


async def test_heroes_of_sqlmodel_are_listed():
    """A page of table models, filtered by their columns."""
    namespace = run(blocks(DOCS / "sqlmodel.md")[3])
    async with running(namespace["app"]) as http:
        async with namespace["database"].session() as session:
            session.add(namespace["Hero"](name="Ada", age=36))
        for lowest, names in ((36, ["Ada"]), (37, [])):
            page = (await http.get("/heroes", params={"age__ge": lowest})).json()
            assert [hero["name"] for hero in page["items"]] == names


async def test_duplicates_of_tags_are_answered():
    """As a conflict, or left out of many without losing the others."""
    async with running(run(blocks(DOCS / "data.md")[1])["app"]) as http:
        for status in (201, 409):
            assert (await http.post("/tags", params={"name": "a"})).status_code == status
        assert (await http.put("/tags", json=["b", "a", "c"])).json() == ["a"]
        assert (await http.put("/tags", json=["b", "c"])).json() == ["b", "c"]


async def test_an_address_that_is_taken_is_a_problem():
    """The answer of the page's first block is the one that the page shows."""
    page = DOCS / "problems.md"
    (shown,) = re.findall(r"^(\{\"type\".*?\})\n```", page.read_text(), re.DOTALL | re.MULTILINE)
    async with running(run(blocks(page)[0])["app"]) as http:
        await http.post("/members", params={"email": "ada@example.org"})
        answer = await http.post("/members", params={"email": "ada@example.org"})
    assert answer.status_code == 409
    assert answer.json() | {"instance": ""} == json.loads(shown) | {"instance": ""}


async def test_players_are_cached(redis_url: str, monkeypatch: pytest.MonkeyPatch):
    """A reader has the new name once the write is answered; and functions and routes work."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("REDIS_PREFIX", uuid4().hex)
    page = DOCS / "redis.md"
    async with running(run(blocks(page)[0])["app"]) as http:
        assert (await http.get("/players/1")).status_code == 404
        for name in ("Ada", "Bob"):
            assert (await http.put("/players/1", params={"name": name})).status_code == 200
            for _ in range(2):
                assert (await http.get("/players/1")).json() == {"id": 1, "name": name}
        assert (await http.get("/health/cache")).json() == {"status": "ok"}
    app = run(blocks(page)[1])["app"]
    app.router.lifespan_context = create_lifespan(lifespan=cache_lifespan)
    async with running(app) as http:
        answer = await http.get("/scores/7")
        assert answer.json() == {"points": 7}
        known = {"if-none-match": answer.headers["etag"]}
        assert (await http.get("/scores/7", headers=known)).status_code == 304
        assert (await http.post("/scores/7")).status_code == 200


def test_problems_table_is_complete():
    """Each type stands in the table with its status."""
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\d+) \| ", (DOCS / "problems.md").read_text(), re.MULTILINE
    )
    assert sorted(rows) == sorted((kind.name, str(kind.status)) for kind in KINDS)


async def test_the_application_with_pages_answers():
    """By offset, and by the cursor of the page before."""
    app: FastAPI = run(blocks(DOCS / "pages.md")[0])["app"]
    async with running(app) as http:
        assert (await http.get("/articles")).json()["total"] == 0
        page = (await http.get("/feed", params={"limit": 5})).json()
        assert page == {"items": [], "next_cursor": None, "previous_cursor": None, "limit": 5}


async def test_recipes_for_passwords_return_credentials():
    """With clients that answer as those of the providers do."""
    recipes = run(blocks(DOCS / "passwords.md")[1])

    async def get_token(scope: str) -> Any:
        return SimpleNamespace(token=scope, expires_on=time.time() + 60)

    def refresh(request: object) -> None:
        google.token, google.expiry = "secret", datetime(2100, 1, 1)  # noqa: DTZ001 - as google-auth

    google = SimpleNamespace(refresh=refresh)
    lease = {"lease_duration": 3600, "data": {"username": "v-app", "password": "secret"}}
    secrets = SimpleNamespace(generate_credentials=lambda name: lease)
    found: list[Credentials] = [
        recipes["aws_rds"](
            SimpleNamespace(generate_db_auth_token=lambda **_: "secret"), "db.example.com", "app"
        ),
        await recipes["azure_entra"](SimpleNamespace(get_token=get_token)),
        recipes["google_cloud_sql"](google, None),
        recipes["vault"](SimpleNamespace(secrets=SimpleNamespace(database=secrets)), "app"),
    ]
    assert all(each.secret and each.expires_in and each.expires_in > 0 for each in found)
    assert [each.user for each in found] == [None, None, None, "v-app"]
    cache = SimpleNamespace(get_secret_string=lambda name: name)
    assert recipes["aws_secrets_manager"](cache, "secret") == "secret"


def test_commands_are_targets_of_make():
    """What a page says to type exists, and the help shows it."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    commands = re.findall(
        r"(?:`|\$ )make ((?:[a-z-]+ ?)+)", README.read_text() + CONTRIBUTING.read_text()
    )
    assert {word for command in commands for word in command.split()} | {"help"} <= targets
    assert {"run", "test", "lock", "test-newest"} <= {word for c in commands for word in c.split()}


@pytest.mark.parametrize(
    ("prefix", "settings"),
    [("DATABASE", DatabaseSettings), ("REDIS", RedisSettings), ("MONGO", MongoSettings)],
)
def test_settings_table_is_complete(prefix: str, settings: type[BaseSettings]):
    """Each field stands in its table with its type and its default."""
    rows = re.findall(
        rf"^\| `{prefix}_(\w+)` \| (.+?) \| `(.*?)` \| \S",
        (DOCS / "settings.md").read_text(),
        re.MULTILINE,
    )
    assert {variable.lower(): (kind, default) for variable, kind, default in rows} == {
        field: (described(info.annotation), shown(info.get_default(call_default_factory=True)))
        for field, info in settings.model_fields.items()
    }


def test_checks_of_the_doctor_are_listed():
    """Each check has its row, in the table of its database and in the order in which it runs."""
    page = (DOCS / "doctor.md").read_text()
    for title, doctor in {
        "PostgreSQL": POSTGRESQL,
        "MySQL and MariaDB": MYSQL,
        "SQLite": SQLITE,
    }.items():
        table = page.partition(f"## {title}\n")[2].partition("## ")[0]
        assert re.findall(r"^\| `(.+?)` \| ", table, re.MULTILINE) == list(doctor.checks)


def test_thresholds_of_the_doctor():
    """The tables have each with its default."""
    shown = re.findall(r"`(\w+)=([\d_.]+)`", (DOCS / "doctor.md").read_text())
    assert {name: float(value) for name, value in shown} == asdict(Thresholds())


def described(annotation: Any) -> str:
    """Return a type as the table writes it."""
    if isinstance(annotation, types.UnionType):
        return f"`{annotation}`".replace("|", r"\|").replace("pydantic.types.", "")
    if get_origin(annotation) is list:
        return f"`{annotation}`".replace("pydantic.types.", "")
    if isinstance(annotation, type):
        return f"`{annotation.__name__}`"
    *choices, last = get_args(annotation)
    return f"{', '.join(f'`{choice}`' for choice in choices)} or `{last}`"


def shown(default: Any) -> str:
    """Return a default as the table writes it."""
    return str(getattr(default, "get_secret_value", lambda: default)())


def test_version_is_in_the_changelog_format():
    """The changelog names what comes next, newest first."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (Unreleased|\[?\d)", changelog, re.MULTILINE)
    assert re.fullmatch(r"\d+\.\d+\.\d+", fastapi_asyncdb.__version__)
