"""Rows in bulk: batches of rows, COPY, upserts."""
