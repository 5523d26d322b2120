"""The images of docs/cli.md, of what commands print: ``python -m tests.cli.screenshots`` renews them."""

from __future__ import annotations

import html
import io
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.cli.conftest import MODELS, ROOT, Project
from tests.support.warm_python import WarmPython, warm_python

IMAGES = ROOT / "docs" / "images"
WIDTH = 100
# What differs from one run or machine to the next.
_VARIABLE = {
    r"\d+\.\d\d s": "0.02 s",
    r"\d+\.\d ms": "0.2 ms",
    r"SQLite \d[\d.]*\d": "SQLite 3.50.4",
    r"write /\S+/app.db": "write /srv/shop/app.db",
    r"\d+ kB": "20 kB",
}


@dataclass(frozen=True)
class Screenshot:
    """One image: commands on the application of the tests, of which the last is shown."""

    name: str
    command: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    configured: bool = True
    """Whether the project has its configuration and two revisions."""


SCREENSHOTS = [
    Screenshot("help", ("--help",)),
    Screenshot("init", ("init", "--dry-run", "--no-tests"), configured=False),
    Screenshot("upgrade", ("upgrade",)),
    Screenshot(
        "check",
        ("check",),
        before=(("upgrade",),),
        files={"shop/models.py": MODELS + "    price: Mapped[int | None]\n"},
    ),
    Screenshot("lint", ("lint", "--all", "--dialect", "postgresql")),
    Screenshot("doctor", ("doctor",), before=(("upgrade", "8a1c01f2b7d4"),)),
]


def take(screenshot: Screenshot, python: WarmPython) -> str:
    """Run the commands in an empty folder; return the image of what the last one prints."""
    # A path as short as that in the image, so that the lines of a table break at the same words.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        return _draw(screenshot.command, _print(screenshot, Path(folder), python))


def _print(screenshot: Screenshot, folder: Path, python: WarmPython) -> str:
    project = Project(folder)
    if screenshot.configured:
        project.configure()
        project.revise(id="8a1c01f2b7d4")
        project.revise(
            id="9e4f7c3a5b10",
            after="8a1c01f2b7d4",
            doc="index the names",
            upgrade='op.create_index("products_name", "products", ["name"])',
            downgrade='op.drop_index("products_name")',
        )
    for name, text in screenshot.files.items():
        project.write(name, text)
    for command in screenshot.before:
        _run(command, folder, python)
    printed = _run(screenshot.command, folder, python)
    for pattern, text in _VARIABLE.items():
        printed = re.sub(pattern, text, printed)
    return printed


def words(image: str) -> str:
    """Return the text of an image, without its layout."""
    texts = re.findall(r"<text[^>]*>(.*?)</text>", image)
    return " ".join(html.unescape("".join(texts)).split())


def _run(command: tuple[str, ...], folder: Path, python: WarmPython) -> str:
    variables = {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1", "DATABASE_URL": "sqlite:///app.db"}
    return python.run(
        *("-m", "fastapi_asyncdb.cli", *command),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
        stderr=subprocess.STDOUT,
    ).stdout


def _draw(command: tuple[str, ...], printed: str) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    call = " ".join(["asyncdb", *command])
    console.print(Text(f"$ {call}", "bold"), Text.from_ansi(printed.strip("\n")), sep="\n")
    image = console.export_svg(title=call, unique_id="asyncdb")
    # Pages of documentation load no fonts from elsewhere.
    image = re.sub(r"\s*@font-face \{.*?\}", "", image, flags=re.DOTALL)
    # Nothing is cut off, and each line would have two elements for that.
    image = re.sub(r'<clipPath id="asyncdb-line-\d+">.*?</clipPath>\s*', "", image, flags=re.DOTALL)
    image = re.sub(r' clip-path="url\(#asyncdb-line-\d+\)"', "", image)
    return "\n".join(line.rstrip() for line in image.splitlines()) + "\n"


def main() -> None:
    """Write the images."""
    IMAGES.mkdir(exist_ok=True)
    with warm_python() as python:
        for screenshot in SCREENSHOTS:
            (IMAGES / f"cli-{screenshot.name}.svg").write_text(take(screenshot, python))


if __name__ == "__main__":
    main()
