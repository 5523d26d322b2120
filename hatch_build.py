"""What an editable install puts on the import path: the package and the plugin, and no ``tests``.

Hatchling would add this folder with all that lies in it. Its other way, ``dev-mode-exact``, installs a
finder: type checkers do not see through it, each Python starts 20 ms later, and pytest warns of it.
https://hatch.pypa.io/latest/config/build/#dev-mode
"""

from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULES = ("fastapi_asyncdb", "pytest_asyncdb.py")


class EditableLinks(BuildHookInterface[BuilderConfig]):
    """Make ``.editable``, the folder of ``dev-mode-dirs``, with a link to each module."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the links, before hatchling builds what pip installs."""
        if version != "editable":
            return
        folder = Path(self.root, ".editable")
        folder.mkdir(exist_ok=True)
        for module in MODULES:
            link = folder / module
            if not link.exists():  # another environment may use it at this moment
                link.unlink(missing_ok=True)
                # Windows allows it in developer mode only.
                link.symlink_to(Path("..", module), target_is_directory=not link.suffix)
