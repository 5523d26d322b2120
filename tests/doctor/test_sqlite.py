"""The checks of a SQLite file: each defect is made, and found."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from fastapi_asyncdb.doctor import Thresholds
from tests.doctor.examined import found, report_of

_NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file of ``sqlite_url`` is."""
    return tmp_path / "test.db"


def run(path: Path, script: str, *, mode: str = "wal") -> None:
    """Run statements on a connection without the library's pragmas."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.executescript(script)


async def test_journal_mode(path: Path, sqlite_url: str):
    """A file that another program has made."""
    run(path, "CREATE TABLE t (id)", mode="delete")
    finding = await found(sqlite_url, "journal mode")
    assert finding.status == "warn"
    assert "delete" in finding.fact


async def test_pragmas_of_the_application(path: Path, sqlite_url: str):
    """Its connections do not wait for locks."""
    run(path, "CREATE TABLE t (id)")
    report = await report_of(sqlite_url, {"lock_timeout": 0})
    (finding,) = [each for each in report.findings if each.check == "pragmas"]
    assert finding.status == "warn"
    assert "busy_timeout=0 ms" in finding.fact
    assert "DATABASE_LOCK_TIMEOUT" in finding.cure


async def test_corrupted_file(path: Path, sqlite_url: str):
    """A page in the middle is overwritten; the other checks run."""
    rows = "INSERT INTO t VALUES (hex(randomblob(2000)));" * 50
    run(path, f"CREATE TABLE t (text); CREATE INDEX i ON t (text); {rows}")
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xff" * 4096)
    report = await report_of(sqlite_url)
    finding = next(each for each in report.findings if each.check == "integrity")
    assert finding.status == "fail"
    assert "damaged" in finding.fact
    assert ".recover" in finding.cure
    assert report.findings[-1].check == "WAL size"


async def test_file_that_is_no_database(path: Path, sqlite_url: str):
    """There is no connection to it."""
    path.write_bytes(b"no database at all " * 100)
    (finding,) = (await report_of(sqlite_url)).findings
    assert (finding.check, finding.status) == ("connection", "fail")
    assert "not a database" in finding.fact
    assert path.read_bytes().startswith(b"no database")


async def test_rows_that_refer_to_none(path: Path, sqlite_url: str):
    """Written without foreign keys."""
    run(
        path,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY); CREATE TABLE child (p REFERENCES parent); "
        "INSERT INTO child VALUES (1), (2)",
    )
    finding = await found(sqlite_url, "foreign key values")
    assert finding.status == "fail"
    assert "2 rows refer to rows that do not exist: 2 of child to parent." in finding.fact


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("", False),
        ("CREATE INDEX i ON child (A, b)", True),
        ("CREATE INDEX i ON child (b, a, id)", True),
        ("CREATE INDEX i ON child (id, a, b)", False),
        ("CREATE INDEX i ON child (a, b) WHERE id > 0", False),
        ("CREATE INDEX i ON child (a, lower(b))", False),
    ],
)
async def test_foreign_key_without_index(index: str, serves: bool, path: Path, sqlite_url: str):
    """An index serves if it begins with all columns of the key; a rowid is an index."""
    run(
        path,
        "CREATE TABLE parent (a, b, PRIMARY KEY (a, b)); CREATE TABLE one (id INTEGER PRIMARY KEY);"
        "CREATE TABLE same (id INTEGER PRIMARY KEY REFERENCES one);"
        f"CREATE TABLE child (id, a, b, FOREIGN KEY (a, b) REFERENCES parent); {index}",
    )
    finding = await found(sqlite_url, "foreign keys")
    assert finding.status == ("ok" if serves else "warn")
    assert serves or "of child (a, b)." in finding.fact


@pytest.mark.parametrize(
    ("definitions", "redundant"),
    [
        ("CREATE INDEX one ON t (a); CREATE INDEX two ON t (a)", "two and one"),
        ("CREATE INDEX one ON t (a); CREATE UNIQUE INDEX two ON t (a)", "one and two"),
        ("CREATE UNIQUE INDEX one ON t (id)", "one and sqlite_autoindex_t_1"),
        ("CREATE INDEX one ON t (a); CREATE INDEX two ON t (a DESC)", None),
        ("CREATE INDEX one ON t (a); CREATE INDEX two ON t (a COLLATE NOCASE)", None),
        ("CREATE INDEX one ON t (a); CREATE INDEX two ON t (a) WHERE a > 0", None),
        ("CREATE INDEX one ON t (lower(a)); CREATE INDEX two ON t (upper(a))", None),
    ],
)
async def test_duplicate_index(
    definitions: str, redundant: str | None, path: Path, sqlite_url: str
):
    """The weaker one of two goes."""
    run(path, f"CREATE TABLE t (id TEXT PRIMARY KEY, a TEXT); {definitions}")
    finding = await found(sqlite_url, "duplicate indexes")
    assert finding.status == ("ok" if redundant is None else "warn")
    assert redundant is None or f"same: {redundant}." in finding.fact


async def test_free_pages(path: Path, sqlite_url: str):
    """What was deleted stays in the file."""
    rows = "INSERT INTO t VALUES (randomblob(200000));" * 10
    run(path, f"CREATE TABLE t (data); {rows} DELETE FROM t")
    finding = await found(sqlite_url, "free pages", thresholds=Thresholds(free_bytes=1024**2))
    assert finding.status == "warn"
    assert "2 MB of 2 MB are unused" in finding.fact
    assert (await found(sqlite_url, "free pages")).status == "ok"


async def test_large_log(path: Path, sqlite_url: str):
    """A reader keeps it from being emptied; examining it does not either."""
    run(path, "CREATE TABLE t (data)")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM t").fetchall()
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("INSERT INTO t VALUES (randomblob(2000000))")
            finding = await found(sqlite_url, "WAL size", thresholds=Thresholds(wal_bytes=1024**2))
            size = path.with_name("test.db-wal").stat().st_size
    assert finding.status == "warn"
    assert size > 2_000_000
    assert "wal_checkpoint(TRUNCATE)" in finding.cure


@pytest.mark.skipif(os.name != "posix", reason="other systems have other rights")
async def test_file_that_others_may_write(path: Path, sqlite_url: str):
    """Every user of the machine."""
    run(path, "CREATE TABLE t (id)")
    path.chmod(0o666)
    finding = await found(sqlite_url, "file rights")
    assert finding.status == "warn"
    assert f"chmod o-w {path}" in finding.cure


@contextmanager
def _as_plain_user() -> Iterator[None]:
    """Run as a user without the rights of root, to whom every file is open."""
    if os.geteuid():
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="other systems have other rights")
@pytest.mark.parametrize("locked", ["file", "folder"])
async def test_file_that_may_not_be_written(locked: str):
    """The application could read, and would fail at its first write."""
    folder = Path(tempfile.mkdtemp())
    try:
        run(folder / "app.db", "CREATE TABLE t (id)", mode="delete")
        (folder / "app.db").chmod(0o444 if locked == "file" else 0o666)
        folder.chmod(0o555 if locked == "folder" else 0o777)
        with _as_plain_user():
            finding = await found(f"sqlite:///{folder}/app.db", "file rights")
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    assert finding.status == "fail"
    assert "may not write" in finding.fact
    assert ("app.db" in finding.fact) == (locked == "file")


@pytest.mark.parametrize("name", ["a b%20c.db", "what?.db", "a#b.db"])
async def test_unusual_names(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A path with signs that have a meaning in URIs, relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    run(tmp_path / name, "CREATE TABLE t (id)")
    quoted = name.replace("%", "%25").replace("?", "%3F").replace("#", "%23")
    report = await report_of(f"sqlite:///{quoted}?timeout=7")
    facts = {each.check: each.fact for each in report.findings}
    assert str(tmp_path / name) in facts["file rights"]
    assert "busy_timeout=7000" in facts["pragmas"]


async def test_uri_of_a_file(path: Path):
    """One that opens to write is opened to read."""
    run(path, "CREATE TABLE t (id)")
    report = await report_of(f"sqlite:///file:{path}?mode=rwc&cache=private")
    assert report.worst == "ok"
