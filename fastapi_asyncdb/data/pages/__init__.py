"""Pages of a query: by offset and by cursor."""
