"""The pool of connections: who waits, which connections are pinged, how they are closed."""
