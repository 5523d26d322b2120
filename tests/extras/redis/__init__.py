"""Tests of the cache in Redis."""
