"""What happens when something fails in the middle, each on SQLite and PostgreSQL."""
