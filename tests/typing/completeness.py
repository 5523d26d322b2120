"""Checks that type checkers know the type of every public name: ``make types`` runs it.

Reads the report of ``pyright --verifytypes fastapi_asyncdb --outputjson`` from standard input. pyright
takes each module without an underscore for a public one; here only names that users import count.
"""

import json
import sys
from collections.abc import Iterator
from importlib import import_module

PUBLIC = [
    "fastapi_asyncdb",
    "fastapi_asyncdb.errors",
    "fastapi_asyncdb.settings",
    "fastapi_asyncdb.models",
    "fastapi_asyncdb.options",
    "fastapi_asyncdb.testing",
    "fastapi_asyncdb.testing.migrations",
]


def public_names() -> Iterator[str]:
    """Yield the names of the public objects, in the public module and where they are defined."""
    for module_name in PUBLIC:
        module = import_module(module_name)
        names = getattr(module, "__all__", None)
        for name in vars(module) if names is None else names:
            value = getattr(module, name)
            home = getattr(value, "__module__", module_name)
            if name.startswith("_") or (names is None and home != module_name):
                continue
            yield f"{module_name}.{name}"
            if isinstance(home, str) and home.startswith("fastapi_asyncdb"):
                yield f"{home}.{getattr(value, '__qualname__', name)}"


def main() -> None:
    """Name each public symbol whose type is unknown or ambiguous, and why."""
    symbols = json.load(sys.stdin)["typeCompleteness"]["symbols"]
    prefixes = set(public_names())
    public = [
        symbol
        for symbol in symbols
        if any(f"{symbol['name']}.".startswith(f"{prefix}.") for prefix in prefixes)
    ]
    incomplete = [
        symbol for symbol in public if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    ]
    for symbol in incomplete:
        print(symbol["name"], *(each["message"] for each in symbol["diagnostics"]), sep="\n  ")
    if incomplete or not public:
        sys.exit(f"{len(incomplete)} of {len(public)} public symbols have no complete type.")


if __name__ == "__main__":
    main()
