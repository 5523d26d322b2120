"""Models that no line of the configuration imports: their tables would be taken for ones to drop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastapi_asyncdb.cli.console import warn

if TYPE_CHECKING:
    from fastapi_asyncdb.migrations import MigrationConfig


def warn_of_forgotten_models(config: MigrationConfig) -> None:
    """Import the models; warn of those in the sources that are of the same base and were not imported.

    Args:
        config: Of the database whose models are compared.
    """
    from fastapi_asyncdb.cli.init.found import model_modules
    from fastapi_asyncdb.cli.init.sources import read_sources

    tables = {id(each) for each in config.load_metadata()}
    for base, modules in model_modules(read_sources(config.folder)).items():
        if id(_metadata_of(base)) in tables:
            for module, place in modules.items():
                if module not in sys.modules:
                    warn(
                        f"{place} has a model that is not imported, so that it is missing in the "
                        f'comparison. Add "{module}" to the line metadata in {config.file.name}.'
                    )


def _metadata_of(base: str) -> Any:
    """Return the ``MetaData`` of a base, or the one under that name; ``None`` if it is not imported."""
    module, _, name = base.rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    return getattr(found, "metadata", found)
