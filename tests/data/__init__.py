"""Data access: repositories, pages, rows in bulk, locks."""
