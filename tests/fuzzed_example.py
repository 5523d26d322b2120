"""Sends generated requests to the example application, on SQLite and PostgreSQL.

Called by ``make test-openapi``. No answer may be a 500, or differ from what the OpenAPI says.
https://schemathesis.readthedocs.io/
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi_asyncdb.testing import PostgresServer
from fastapi_asyncdb.testing.servers.folder import free_port

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
# A stream without an end, and a body that is no JSON.
LEFT_OUT = ("/events/posts", "/import/posts")


@contextmanager
def serving(database_url: str) -> Iterator[str]:
    """Serve the application on a migrated database; yield its address."""
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)}
    alembic = [str(BIN / "alembic"), "-c", "example_app/alembic.ini", "upgrade", "head"]
    subprocess.run(alembic, cwd=ROOT, env=environment, check=True)
    port = str(free_port())
    uvicorn = [str(BIN / "uvicorn"), "example_app.main:app", "--port", port]
    server = subprocess.Popen([*uvicorn, "--log-level", "critical"], cwd=ROOT, env=environment)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def fuzz(database_url: str, *arguments: str) -> int:
    """Run Schemathesis; return its exit code."""
    with serving(database_url) as address:
        command = [str(BIN / "schemathesis"), "run", f"{address}/openapi.json"]
        command += ["--wait-for-schema=30", f"--checks={','.join(CHECKS)}"]
        command += [f"--exclude-path={path}" for path in LEFT_OUT]
        return subprocess.run([*command, *arguments], check=False).returncode


def main() -> int:
    """Fuzz on both databases, with the arguments of the command line."""
    arguments = sys.argv[1:] or ["--max-examples=50"]
    with tempfile.TemporaryDirectory() as folder, PostgresServer() as server:
        urls = [f"sqlite:///{folder}/example.db", server.url()]
        return max([fuzz(url, *arguments) for url in urls])


if __name__ == "__main__":
    sys.exit(main())
