"""What is installed as an extra, and imported by its path: the core imports none of it."""
