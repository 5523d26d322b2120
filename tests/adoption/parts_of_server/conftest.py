"""Sets what the environment of a developer has."""

import os

from sqlalchemy import make_url

given = make_url(os.environ["ADOPTION_DATABASE_URL"])
os.environ |= {
    "TEST_DB_HOST": str(given.host),
    "TEST_DB_PORT": str(given.port),
    "TEST_DB_USER": str(given.username),
    "TEST_DB_PASSWORD": given.password or "p@ss/word",
    "TEST_DB_NAME": str(given.database),
}
