"""The indexes of a collection, as ``listIndexes`` shows them; mongomock enforces the unique ones."""

from __future__ import annotations

from typing import Any

from mongomock_ng import DuplicateKeyError

from tests.support.mongo_wire.failures import CommandFailure

Definition = dict[str, Any]
_COMPARED = ("key", "unique", "sparse", "expireAfterSeconds", "partialFilterExpression", "weights")


class Indexes:
    """The indexes of all collections, by namespace and name."""

    def __init__(self) -> None:
        self._defined: dict[str, dict[str, Definition]] = {}

    def of(self, namespace: str) -> list[Definition]:
        """Return the indexes of a collection."""
        return [
            {"v": 2, "key": {"_id": 1}, "name": "_id_"},
            *self._defined.get(namespace, {}).values(),
        ]

    def create(self, namespace: str, collection: Any, wanted: Definition) -> None:
        """Create one index; one that exists already is left alone.

        Raises:
            CommandFailure: there is another one of this name or with these keys.
        """
        stored = _stored(wanted)
        defined = self._defined.setdefault(namespace, {})
        for name, other in defined.items():
            same = all(other.get(option) == stored.get(option) for option in _COMPARED)
            if name == stored["name"]:
                if same:
                    return
                raise CommandFailure(86, "IndexKeySpecsConflict", f"An existing index {name}")
            if other["key"] == stored["key"]:
                raise CommandFailure(85, "IndexOptionsConflict", f"Index exists already as {name}")
        if "weights" not in stored:
            self._enforce(collection, stored)
        defined[stored["name"]] = stored

    def change_ttl(self, namespace: str, name: str, seconds: Any) -> None:
        """Change the TTL of an index."""
        self._defined[namespace][name]["expireAfterSeconds"] = seconds

    def drop(self, namespace: str, name: str | None = None) -> None:
        """Forget one index of a collection, or all."""
        if name is None:
            self._defined.pop(namespace, None)
        else:
            self._defined.get(namespace, {}).pop(name, None)

    def copy_to(self, namespace: str, collection: Any) -> None:
        """Let another collection enforce the same."""
        for definition in self._defined.get(namespace, {}).values():
            if "weights" not in definition:
                self._enforce(collection, definition)

    def _enforce(self, collection: Any, definition: Definition) -> None:
        options = {"unique", "sparse", "partialFilterExpression"} & definition.keys()
        try:
            collection.create_index(
                list(definition["key"].items()),
                name=definition["name"],
                **{option: definition[option] for option in options},
            )
        except DuplicateKeyError as error:
            raise CommandFailure(11000, "DuplicateKey", str(error)) from error

    def violated(self, namespace: str, collection: Any, message: str) -> Definition:
        """Return what the server adds to the error of a duplicate key."""
        unique = [each for each in self.of(namespace) if each.get("unique")]
        named = (each for each in unique if any(field in message for field in each["key"]))
        definition = next(named, self.of(namespace)[0])
        where = f"collection: {namespace} index: {definition['name']}"
        text = f"E11000 duplicate key error {where} dup key: {{}}"
        return {"code": 11000, "errmsg": text, "keyPattern": definition["key"], "keyValue": {}}


def _stored(wanted: Definition) -> Definition:
    """Return an index as the server stores it: of a text index the weights."""
    texts = [name for name, kind in wanted["key"].items() if kind == "text"]
    if not texts:
        return {"v": 2, **wanted}
    others = {name: kind for name, kind in wanted["key"].items() if kind != "text"}
    weights = dict.fromkeys(texts, 1) | dict(wanted.get("weights") or {})
    return {
        "v": 2,
        "default_language": "english",
        "language_override": "language",
        "textIndexVersion": 3,
        **wanted,
        "key": {**others, "_fts": "text", "_ftsx": 1},
        "weights": weights,
    }
