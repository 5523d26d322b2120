"""Whether what was found can be imported: tried in a process of its own, which may fail or hang."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fastapi_asyncdb.cli.init.plan import Project

_LIMIT = 60
"""Seconds that the imports may take."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of the imports."""

    tables: int
    problems: list[str]


def verify(project: Project) -> Verification:
    """Import the models and the application, as the commands will do."""
    given = json.dumps({"metadata": project.metadata, "objects": project.objects})
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result")
        # The paths of this process, since it may be no installed one.
        command = [sys.executable, "-m", "fastapi_asyncdb.cli.init.probe", given, str(result)]
        try:
            run = subprocess.run(  # noqa: S603 - this interpreter
                command,
                cwd=project.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=_LIMIT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Verification(0, [f"The imports did not end within {_LIMIT} s."])
        if result.exists():
            return Verification(**json.loads(result.read_text()))
    last = run.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return Verification(0, [f"The imports ended the process ({run.returncode}): {''.join(last)}"])
