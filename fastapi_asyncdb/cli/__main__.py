"""The entry point of the command, also by ``python -m fastapi_asyncdb.cli``."""

import sys


def run() -> None:
    """Run the command line; without its extra, say how to install it."""
    try:
        from fastapi_asyncdb.cli.main import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(
            f"The command line needs {error.name}, which is not installed. Run: "
            "pip install 'fastapi-asyncdb[cli]'."
        )
    app()


if __name__ == "__main__":
    run()
