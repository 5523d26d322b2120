"""The testing kit, each module on SQLite and PostgreSQL."""
