"""Checks of numbers that run out on PostgreSQL: sequences, and transaction IDs."""

from __future__ import annotations

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.doctor import Deployment, Result, fail, listed, ok, skipped, warn

# The sequence of a serial column is a bigint's in old databases, or after its column was made smaller.
# A type of 16 or 32 bits is the nearer end. https://www.postgresql.org/docs/current/datatype-numeric.html
_SEQUENCES = text("""
SELECT q.name, q.of_column, q.readable,
  (CASE WHEN q.increment_by > 0
    THEN q.last_value::numeric / nullif(least(q.max_value, q.largest), 0)
    ELSE q.last_value::numeric / nullif(q.min_value, 0) END)::float8 AS used
FROM (
  SELECT c.oid::regclass::text AS name, s.last_value, s.increment_by, s.max_value, s.min_value,
    has_sequence_privilege(c.oid, 'SELECT, USAGE') AS readable, o.of_column, o.largest
  FROM pg_sequences s
  JOIN pg_namespace n ON n.nspname = s.schemaname
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = s.sequencename
  LEFT JOIN LATERAL (
    SELECT d.refobjid::regclass::text || '.' || quote_ident(a.attname) AS of_column,
      CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
        END AS largest
    FROM pg_depend d
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
      AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
    LIMIT 1
  ) o ON true
  WHERE NOT s.cycle
) q
ORDER BY used DESC NULLS LAST, q.name
""")

# https://www.postgresql.org/docs/current/routine-vacuuming.html#VACUUM-FOR-WRAPAROUND
_OLDEST = text("""
SELECT datname AS name, greatest(age(datfrozenxid), mxid_age(datminmxid)) AS age
FROM pg_database ORDER BY age DESC LIMIT 1
""")


def sequences(connection: Connection, deployment: Deployment) -> Result:
    """Return the sequences that have used up most of the numbers of their columns."""
    limits = deployment.thresholds
    rows = connection.execute(_SEQUENCES).all()
    found = [row for row in rows if row.used is not None and row.used >= limits.sequence]
    hidden = [row.name for row in rows if not row.readable]
    if hidden and not found:
        return skipped(
            f"The role may not read {listed(hidden)}.",
            "GRANT SELECT ON ALL SEQUENCES IN SCHEMA ...",
        )
    if not found:
        return ok(f"No sequence has used {limits.sequence:.0%} of its numbers.")
    names = listed(
        [f"{row.name} of {row.of_column or 'no column'} ({row.used:.0%})" for row in found]
    )
    result = fail if found[0].used >= limits.sequence_end else warn
    return result(
        f"Numbers that run out: {names}.",
        "At the end each INSERT fails. Make the column and its sequence bigint: on a large table with "
        "a new column that a trigger and batches fill, since ALTER COLUMN TYPE locks and rewrites it.",
    )


def transaction_ids(connection: Connection, deployment: Deployment) -> Result:
    """Return the age of the oldest transaction ID: at 2 billions the server refuses to write."""
    limits = deployment.thresholds
    name, age = connection.execute(_OLDEST).one()
    fact = f"The oldest transaction ID, in the database {name}, is {age:,} transactions old."
    if age < limits.transaction_age:
        return ok(fact)
    result = fail if age >= limits.transaction_age_end else warn
    return result(
        fact,
        f"VACUUM (FREEZE) the database {name}; before, end long transactions, prepared ones, and "
        "replication slots that nothing uses, which keep VACUUM from freezing rows.",
    )
