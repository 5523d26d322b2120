"""Databases for tests: one a worker, one a test."""
