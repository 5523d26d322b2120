"""Data access: rows in bulk, upserts, locks."""
