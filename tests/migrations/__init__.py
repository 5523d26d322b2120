"""Migrations: configuration, environment, the lock of one migrator."""
