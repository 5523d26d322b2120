"""The pool by itself."""
