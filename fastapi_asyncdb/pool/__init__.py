"""The pool of connections: its queue of waiters, pings, closing, warnings of long checkouts."""
