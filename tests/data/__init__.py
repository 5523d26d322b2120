"""Data access: models, repositories, pages, rows in bulk."""
