"""The indexes that models declare, compared with those that a collection has."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pymongo import IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import CollectionInvalid, OperationFailure

from fastapi_asyncdb.errors import IndexMismatch
from fastapi_asyncdb.extras.mongo.documents import layout_of

logger = logging.getLogger(__name__)

Definition = dict[str, Any]
OnDifference = Literal["error", "warning", "change ttl"]
"""What happens with an index that differs from its declaration. ``change ttl`` changes its TTL, if it
differs in nothing else."""

_TTL = "expireAfterSeconds"
_NAMESPACE_NOT_FOUND = 26
_ALWAYS = ("unique", "sparse", _TTL, "partialFilterExpression")
"""Compared always: absent is another index. Others are compared if they are declared."""
_OF_BUILD = ("name", "key", "background", "v", "ns")


async def ensure_indexes(
    database: AsyncDatabase[Definition],
    models: Iterable[type[BaseModel]],
    *,
    on_difference: OnDifference = "error",
) -> None:
    """Create the indexes that are missing; leave alone those that no model declares.

    Processes that start at the same time do no harm: MongoDB creates an index once.

    Args:
        database: PyMongo's.
        models: Models with ``__indexes__``.
        on_difference: What to do with an index that differs: see ``OnDifference``.

    Raises:
        IndexMismatch: an index has other options, with ``error``.
    """
    for model in models:
        declared = [index.document for index in getattr(model, "__indexes__", ())]
        collection = database[layout_of(model).collection]
        await _ensure(collection, [dict(each) for each in declared], on_difference)


async def _ensure(
    collection: AsyncCollection[Definition],
    declared: Sequence[Definition],
    on_difference: OnDifference,
) -> None:
    existing = await _existing(collection)
    missing: list[Definition] = []
    known: set[str] = set()
    for index in declared:
        found = _counterpart(index, existing)
        if found is None:
            missing.append(index)
            continue
        known.add(found["name"])
        if different := differences(index, found):
            await _report(collection, index, found, different, on_difference)
    for other in existing:
        if other["name"] not in known | {"_id_"}:
            logger.info(
                "%s has the index %s, which no model declares.", collection.name, other["name"]
            )
    if missing:
        await collection.create_indexes([_as_model(index) for index in missing])
        logger.info("%s: created %s.", collection.name, ", ".join(each["name"] for each in missing))


async def _existing(collection: AsyncCollection[Definition]) -> list[Definition]:
    try:
        return [dict(index) async for index in await collection.list_indexes()]
    except (OperationFailure, CollectionInvalid) as error:
        if getattr(error, "code", None) == _NAMESPACE_NOT_FOUND:
            return []
        raise


def _counterpart(index: Definition, existing: Sequence[Definition]) -> Definition | None:
    """Return the index of the same name, or else of the same keys: MongoDB has no two of those."""
    for found in existing:
        if found["name"] == index["name"]:
            return found
    return next((found for found in existing if _keys(found) == _keys(index)), None)


def differences(declared: Definition, found: Definition) -> set[str]:
    """Return the options in which two indexes differ; ``key`` for the fields."""
    different = {"key"} if _keys(declared) != _keys(found) else set()
    options = {*_ALWAYS, *(name for name in declared if name not in _OF_BUILD)}
    for name in options - {"weights"}:
        if _option(declared, name) != _option(found, name):
            different.add(name)
    return different


def _option(index: Definition, name: str) -> Any:
    value = index.get(name)
    if name in ("unique", "sparse"):
        return bool(value)
    if name == "collation" and value is not None:
        return dict(value).get("locale"), dict(value).get("strength")
    return dict(value) if isinstance(value, Mapping) else value


def _keys(index: Definition) -> tuple[Any, ...]:
    """Return the fields in order; of a text index as it was declared: the server stores weights."""
    fields: list[tuple[str, Any]] = []
    text = set()
    for name, kind in dict(index["key"]).items():
        if kind == "text" and name != "_fts":
            text.add(name)
        elif name not in ("_fts", "_ftsx"):
            fields.append((name, kind))
    text |= set(index.get("weights") or ())
    weights = {name: (index.get("weights") or {}).get(name, 1) for name in text}
    return (*fields, frozenset(weights.items()))


async def _report(
    collection: AsyncCollection[Definition],
    declared: Definition,
    found: Definition,
    different: set[str],
    on_difference: OnDifference,
) -> None:
    has_ttls = different == {_TTL} and _TTL in declared and _TTL in found
    if on_difference == "change ttl" and has_ttls:
        await collection.database.command(
            "collMod",
            collection.name,
            index={"name": found["name"], _TTL: declared[_TTL]},
        )
        logger.info("%s: changed the TTL of %s.", collection.name, found["name"])
        return
    message = (
        f"The index {found['name']} of {collection.name} differs from its declaration in "
        f"{', '.join(sorted(different))}. Declared: {_shown(declared)}. In the database: "
        f"{_shown(found)}. An earlier release, or a person, has created it. MongoDB cannot change "
        "an index, except for its TTL "
        '(on_index_difference="change ttl"): drop it and start again, or declare it as it is.'
    )
    if on_difference == "warning":
        logger.warning("%s", message)
    else:
        raise IndexMismatch(message)


def _shown(index: Definition) -> str:
    return str(
        {name: index[name] for name in sorted(index) if name not in ("v", "ns", "background")}
    )


def _as_model(index: Definition) -> IndexModel:
    options = {name: value for name, value in index.items() if name != "key"}
    return IndexModel(list(dict(index["key"]).items()), **options)
