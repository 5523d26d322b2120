"""Sessions: the decisions that need no database."""
