"""The session that users get, and what happens around its transactions."""
