"""Checks of PostgreSQL's indexes: missing, unused, duplicate, invalid."""

from __future__ import annotations

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.doctor import (
    Deployment,
    Result,
    duration,
    listed,
    ok,
    size,
    skipped,
    warn,
)

# An index serves a foreign key whose columns are its first ones, in any order. One that leaves NULL out
# does so too: the server looks for values. https://www.postgresql.org/docs/current/indexes-multicolumn.html
_FOREIGN_KEYS = text("""
SELECT c.conrelid::regclass::text AS referring, k.columns
FROM pg_constraint c
JOIN pg_class t ON t.oid = c.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
CROSS JOIN LATERAL (
  SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.place) AS columns,
    array_agg(format('(%I IS NOT NULL)', a.attname)) AS not_null
  FROM unnest(c.conkey) WITH ORDINALITY u(number, place)
  JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = u.number
) k
WHERE c.contype = 'f' AND c.conparentid = 0
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
    SELECT FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_am m ON m.oid = x.relam
    WHERE i.indrelid = c.conrelid AND i.indisvalid AND m.amname IN ('btree', 'hash')
      AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = ANY (k.not_null))
      AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
ORDER BY t.reltuples DESC, 1, 2
""")

# An index that is unique, belongs to a constraint or serves a foreign key does its work without a scan.
# https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ALL-INDEXES-VIEW
_UNUSED = text("""
SELECT s.indexrelid::regclass::text AS name, pg_relation_size(s.indexrelid) AS bytes
FROM pg_stat_user_indexes s
JOIN pg_index i ON i.indexrelid = s.indexrelid
JOIN pg_class x ON x.oid = s.indexrelid
WHERE s.idx_scan = 0 AND i.indisvalid AND NOT x.relispartition
  AND NOT (i.indisunique OR i.indisexclusion OR i.indisreplident OR i.indisclustered)
  AND pg_relation_size(s.indexrelid) >= :bytes
  AND NOT EXISTS (
    SELECT FROM pg_constraint c
    WHERE c.contype = 'f' AND c.conrelid = i.indrelid
      AND (i.indkey::int2[])[0:cardinality(c.conkey) - 1] @> c.conkey)
ORDER BY bytes DESC, name
""")
_STATISTICS_AGE = text("""
SELECT extract(epoch FROM now() - stats_reset)::float8 FROM pg_stat_database
WHERE datname = current_database()
""")

# Of two equal ones, that of a constraint stays, then the unique one, then the older one.
_DUPLICATES = text("""
SELECT DISTINCT ON (a.indexrelid) a.indexrelid::regclass::text AS name,
  b.indexrelid::regclass::text AS other
FROM pg_index a
JOIN pg_index b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid
JOIN pg_class x ON x.oid = a.indexrelid
JOIN pg_class y ON y.oid = b.indexrelid AND y.relam = x.relam
JOIN pg_namespace n ON n.oid = x.relnamespace
LEFT JOIN pg_constraint of_a ON of_a.conindid = a.indexrelid
LEFT JOIN pg_constraint of_b ON of_b.conindid = b.indexrelid
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT x.relispartition
  AND a.indisvalid AND b.indisvalid AND NOT a.indisreplident
  AND a.indnkeyatts = b.indnkeyatts AND a.indkey::text = b.indkey::text
  AND a.indclass::text = b.indclass::text AND a.indoption::text = b.indoption::text
  AND a.indcollation::text = b.indcollation::text
  AND pg_get_expr(a.indexprs, a.indrelid) IS NOT DISTINCT FROM pg_get_expr(b.indexprs, b.indrelid)
  AND pg_get_expr(a.indpred, a.indrelid) IS NOT DISTINCT FROM pg_get_expr(b.indpred, b.indrelid)
  AND of_a.oid IS NULL AND (b.indisunique OR NOT a.indisunique)
  AND (of_b.oid IS NOT NULL OR b.indisunique <> a.indisunique OR a.indexrelid > b.indexrelid)
ORDER BY a.indexrelid, of_b.oid, b.indexrelid
""")

_INVALID = text("""
SELECT i.indexrelid::regclass::text FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid AND x.relkind = 'i'
WHERE NOT i.indisvalid
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1
""")


def foreign_keys(connection: Connection, deployment: Deployment) -> Result:
    """Return the foreign keys without an index, those of the largest tables first."""
    found = connection.execute(_FOREIGN_KEYS).all()
    if not found:
        return ok("Each foreign key has an index.")
    table, columns = found[0]
    return warn(
        f"No index for the foreign key of {listed([f'{row[0]} ({row[1]})' for row in found])}.",
        "A DELETE or UPDATE of a row that is referred to reads the whole table, and so do joins: "
        f"CREATE INDEX CONCURRENTLY ON {table} ({columns}).",
    )


def unused_indexes(connection: Connection, deployment: Deployment) -> Result:
    """Return the large indexes that no query has used since the statistics were reset."""
    limits = deployment.thresholds
    age = connection.execute(_STATISTICS_AGE).scalar_one()
    since = "since the statistics began" if age is None else f"in {duration(age)}"
    if age is not None and age < limits.statistics_age:
        return skipped(
            f"The statistics were reset {duration(age)} ago.",
            f"Examine the database again when they are {duration(limits.statistics_age)} old.",
        )
    found = connection.execute(_UNUSED, {"bytes": limits.unused_index_bytes}).all()
    if not found:
        return ok(f"Each index of {size(limits.unused_index_bytes)} or more was used {since}.")
    names = listed([f"{row.name} ({size(row.bytes)})" for row in found])
    return warn(
        f"No query has used {names} {since}.",
        "Each write maintains them. Look at the statistics of the standbys too, which have their own; "
        f"then DROP INDEX CONCURRENTLY {found[0].name}.",
    )


def duplicate_indexes(connection: Connection, deployment: Deployment) -> Result:
    """Return the indexes whose work another one does."""
    found = connection.execute(_DUPLICATES).all()
    if not found:
        return ok("No two indexes are equal.")
    return warn(
        f"Two indexes do the same: {listed([f'{row.name} and {row.other}' for row in found])}.",
        f"Each write maintains both: DROP INDEX CONCURRENTLY {found[0].name}.",
    )


def invalid_indexes(connection: Connection, deployment: Deployment) -> Result:
    """Return what a ``CREATE INDEX CONCURRENTLY`` that failed has left.

    https://www.postgresql.org/docs/current/sql-createindex.html#SQL-CREATEINDEX-CONCURRENTLY
    """
    found = connection.execute(_INVALID).scalars().all()
    if not found:
        return ok("Each index is valid.")
    return warn(
        f"Not valid, since their creation has failed: {listed(found)}.",
        "Writes maintain them, and no query uses them: "
        f"DROP INDEX CONCURRENTLY {found[0]}, then create it again.",
    )
