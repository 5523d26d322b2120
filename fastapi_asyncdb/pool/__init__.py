"""The pool of connections: who waits, what is checked, how it is closed."""
