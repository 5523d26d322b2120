"""Data access: repositories, units of work, pages, rows in bulk, locks."""
