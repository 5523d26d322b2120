"""The command line ``asyncdb``: one module for each noun. Needs the extra ``cli``."""
