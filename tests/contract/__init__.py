"""The promises of a request, one file per group, each on SQLite and PostgreSQL."""
