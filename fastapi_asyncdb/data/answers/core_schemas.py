"""Core schemas of Pydantic: which of them are inside of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

CoreSchema = Mapping[str, Any]

MODELS = {"model": "model-fields", "dataclass": "dataclass-args", "typed-dict": "typed-dict"}
"""What has fields, and the type of what has them in it."""
_NO_VALUES = {"metadata", "serialization", "definitions", "cls"}


def models_in(core: CoreSchema, definitions: Mapping[str, CoreSchema]) -> Iterator[CoreSchema]:
    """Yield the outermost schemas with fields: of a list its items, of a union its choices.

    Args:
        core: A core schema.
        definitions: What its references stand for.
    """
    return _found_in(core, definitions, set())


def _found_in(part: Any, definitions: Mapping[str, CoreSchema], seen: set[str]) -> Iterator[Any]:
    if isinstance(part, Mapping):
        reference = part.get("schema_ref")
        if part.get("type") in MODELS and not part.get("root_model"):
            yield part
        elif isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            yield from _found_in(definitions[reference], definitions, seen)
        else:
            for key, each in part.items():
                if key not in _NO_VALUES:
                    yield from _found_in(each, definitions, seen)
    elif isinstance(part, list | tuple):
        for each in part:
            yield from _found_in(each, definitions, seen)
