"""Writes the .env of a developer, with what the application reads."""

import os
from pathlib import Path

from sqlalchemy import make_url

url = make_url(os.environ["ADOPTION_DATABASE_URL"])
values = {
    "DB_DRIVER": url.get_backend_name(),
    "DB_HOST": url.host,
    "DB_PORT": url.port,
    "DB_USER": url.username,
    "DB_PASSWORD": "not asked for, but %with @signs/" if url.host else None,
    "DB_NAME": url.database,
}
lines = [f'{name}="{value}"\n' for name, value in values.items() if value is not None]
Path(".env").write_text("".join(lines))
