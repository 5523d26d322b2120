"""Which SQL texts only read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastapi_asyncdb.engine.read_only import only_reads

READS = [
    "SELECT 1",
    "select * from t where a = 'DELETE FROM t'",
    "  -- a comment\n SELECT 1",
    "/* DELETE FROM t */ SELECT 1;",
    "(SELECT 1) UNION (SELECT 2)",
    "WITH x AS (SELECT 1) SELECT * FROM x",
    "VALUES (1), (2)",
    "TABLE t",
    "SHOW statement_timeout",
    "EXPLAIN SELECT 1",
    "SELECT $tag$ DELETE FROM t $tag$",
    "SELECT $$ UPDATE t SET a = 1 $$",
    "SELECT E'it\\'s' || ' INTO '",
    'SELECT "into", "update" FROM t',
    "SELECT `delete from` FROM t",
    "SELECT updated_at, deleted, inserted FROM t",
    "SELECT update FROM t",
    "SELECT a FROM t -- FOR UPDATE",
    "SELECT 'a''b; DELETE FROM t'",
    "PRAGMA table_info(t)",
    "SELECT 1; SELECT 2;",
    "",
]
WRITES = [
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
    "REPLACE INTO t VALUES (1)",
    "TRUNCATE t",
    "DROP TABLE t",
    "CREATE TABLE t (a INT)",
    "ALTER TABLE t ADD COLUMN b INT",
    "GRANT ALL ON t TO u",
    "SELECT * INTO s FROM t",
    "SELECT 1; DELETE FROM t",
    "-- SELECT\nDELETE FROM t",
    "/* SELECT */ UPDATE t SET a = 1",
    "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
    "WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
    'WITH x AS (UPDATE "t" SET a = 1 RETURNING *) SELECT * FROM x',
    "WITH x AS (UPDATE only s.t AS y SET a = 1 RETURNING *) SELECT * FROM x",
    "EXPLAIN ANALYZE DELETE FROM t",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t FOR NO KEY UPDATE",
    "SELECT * FROM t FOR SHARE",
    "SELECT * FROM t FOR KEY SHARE SKIP LOCKED",
    "SAVEPOINT a",
    "BEGIN",
    "LOCK TABLE t",
    "CALL p()",
    "DO $$ BEGIN DELETE FROM t; END $$",
    "COPY t FROM STDIN",
    "VACUUM",
    "SET statement_timeout = 0",
    "PRAGMA journal_mode = DELETE",
    "ATTACH 'x.db' AS x",
]


@pytest.mark.parametrize("sql", READS)
def test_queries_are_let_through(sql: str):
    """What only looks like a write inside a string, a name or a comment is none."""
    assert only_reads(sql)


@pytest.mark.parametrize("sql", WRITES)
def test_everything_else_is_refused(sql: str):
    """Writes, locks, DDL and session commands are found wherever they hide."""
    assert not only_reads(sql)


@given(st.text())
def test_no_text_is_too_strange(sql: str):
    """The answer is yes or no for any text."""
    assert only_reads(sql) in (True, False)


@given(st.text(alphabet="abc ;'\"-*/$\n", max_size=30))
def test_a_write_behind_a_closed_statement_is_never_missed(noise: str):
    """Whatever a balanced string holds, the DELETE behind it is seen."""
    quoted = noise.replace("'", "''")
    assert not only_reads(f"SELECT '{quoted}'; DELETE FROM t")
