"""PostgreSQL where the environment names one; else the plugin makes a file of SQLite."""

import os

url = os.environ.get("ADOPTION_DATABASE_URL", "")
if url.startswith("postgresql"):
    os.environ["TEST_DATABASE_URL"] = url
