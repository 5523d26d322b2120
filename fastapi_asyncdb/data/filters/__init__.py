"""Filters, search and order from the query string of a request."""
