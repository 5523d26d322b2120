"""The pool of connections: waiters, idle connections, server limit, pings, closing, status, warnings."""
