"""A Python that has imported the packages, and forks for each program that it runs.

The imports take a second, which is most of what a command of Alembic or of this library takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The arguments mean what they mean to Python, and the import path begins with what it begins with there.
_SERVER = """
import gc, json, os, runpy, sys
import aiosqlite, alembic.config, asyncpg, fastapi, httpx, psycopg, pytest
import fastapi_asyncdb.cli.main, fastapi_asyncdb.testing, fastapi_asyncdb.migrations
import sqlalchemy.dialects.postgresql.asyncpg, sqlalchemy.dialects.sqlite.aiosqlite

def run(kind, *arguments):
    sys.argv = [kind, *arguments[kind in ("-c", "-m"):]]
    if kind == "-m":
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(arguments[0], {"__name__": "__main__"})
    else:
        sys.path[0] = os.path.dirname(kind)
        runpy.run_path(kind, run_name="__main__")

gc.freeze()
for line in sys.stdin:
    folder, environment, files, arguments = json.loads(line)
    if not (child := os.fork()):
        for number, file in enumerate(files):
            os.dup2(os.open(file, os.O_RDWR | os.O_APPEND), number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[1:1] = environment.get("PYTHONPATH", "").split(os.pathsep)
        sys.exit(run(*arguments))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class WarmPython:
    """Runs programs, one at a time."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(
        self,
        *arguments: object,
        cwd: Path,
        env: Mapping[str, str],
        stderr: int = subprocess.PIPE,
    ) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments; return its exit code and what it prints.

        Args:
            arguments: ``-m`` and a module, ``-c`` and a program, or a script; then the program's own.
            cwd: The working directory.
            env: All of the environment.
            stderr: ``subprocess.STDOUT`` to have it in ``stdout``.
        """
        with tempfile.NamedTemporaryFile("r+") as out, tempfile.NamedTemporaryFile("r+") as err:
            files = ["/dev/null", out.name, (out if stderr == subprocess.STDOUT else err).name]
            command = [str(argument) for argument in arguments]
            code = self._ask([str(cwd), dict(env), files, command])
            return subprocess.CompletedProcess(command, code, out.read(), err.read())

    def _ask(self, question: list[object]) -> int:
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        return int(stdout.readline())


@contextmanager
def warm_python() -> Iterator[WarmPython]:
    """Start it; at the end it stops."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        yield WarmPython(server)
