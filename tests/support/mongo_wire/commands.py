"""The commands: each a method of its own name, over mongomock's collections."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

from mongomock_ng import DuplicateKeyError, OperationFailure
from pymongo import ReturnDocument

from tests.support.mongo_wire import text
from tests.support.mongo_wire.failures import CommandFailure
from tests.support.mongo_wire.store import Store, Transaction

Document = dict[str, Any]
_FIRST_BATCH = 101
_OK: Document = {"ok": 1.0}


class Commands:
    """Runs the commands of clients."""

    def __init__(self) -> None:
        self.store = Store()
        self._cursors: dict[int, tuple[str, list[Document]]] = {}
        self._numbers = count(1000)

    def run(self, command: Document, transaction: Transaction | None) -> Document:
        """Run one command.

        Raises:
            CommandFailure: it is not known, or fails.
        """
        name = next(iter(command))
        method = getattr(self, f"on_{name}", None)
        if method is None:
            raise CommandFailure(59, "CommandNotFound", f"no such command: '{name}'")
        try:
            return _OK | (method(command, transaction) or {})
        except DuplicateKeyError as error:
            raise CommandFailure(11000, "DuplicateKey", str(error)) from error
        except (OperationFailure, NotImplementedError) as error:
            raise CommandFailure(
                getattr(error, "code", None) or 2, "BadValue", str(error)
            ) from error

    def on_ping(self, command: Document, transaction: Any) -> None:
        """Answer."""

    on_endSessions = on_ping  # noqa: N815
    on_killCursors = on_ping  # noqa: N815

    def on_buildInfo(self, command: Document, transaction: Any) -> Document:  # noqa: N802
        return {"version": "8.0.0", "versionArray": [8, 0, 0, 0]}

    def on_insert(self, command: Document, transaction: Transaction | None) -> Document:
        return self._writes(command, transaction, command["documents"], self._insert)

    def on_update(self, command: Document, transaction: Transaction | None) -> Document:
        return self._writes(command, transaction, command["updates"], self._update)

    def on_delete(self, command: Document, transaction: Transaction | None) -> Document:
        return self._writes(command, transaction, command["deletes"], self._delete)

    def _writes(
        self, command: Document, transaction: Transaction | None, parts: list[Document], run: Any
    ) -> Document:
        name = command[next(iter(command))]
        answer: Document = {"n": 0}
        errors: list[Document] = []
        for index, part in enumerate(parts):
            try:
                result = self.store.write(
                    transaction,
                    command["$db"],
                    name,
                    partial(run, part),
                    part.get("_id"),
                )
            except DuplicateKeyError as error:
                namespace = f"{command['$db']}.{name}"
                details = self.store.indexes.violated(namespace, None, str(error))
                errors.append({"index": index, **details})
                if command.get("ordered", True):
                    break
                continue
            answer["n"] += result.pop("n")
            if "upserted" in result:
                answer.setdefault("upserted", []).append(
                    {"index": index, "_id": result.pop("upserted")}
                )
            for key, value in result.items():
                answer[key] = answer.get(key, 0) + value
        return answer | ({"writeErrors": errors} if errors else {})

    def _insert(self, document: Document, collection: Any) -> Document:
        collection.insert_one(document)
        return {"n": 1}

    def _update(self, part: Document, collection: Any) -> Document:
        update = part["u"]
        is_change = isinstance(update, list) or next(iter(update), "").startswith("$")
        change = collection.update_many if part.get("multi") else collection.update_one
        if not is_change:
            change = collection.replace_one
        result = change(part["q"], update, upsert=part.get("upsert", False))
        if result.upserted_id is not None:
            return {"n": 1, "nModified": 0, "upserted": result.upserted_id}
        return {"n": result.matched_count, "nModified": result.modified_count}

    def _delete(self, part: Document, collection: Any) -> Document:
        delete = collection.delete_one if part["limit"] == 1 else collection.delete_many
        return {"n": delete(part["q"]).deleted_count}

    def on_findAndModify(self, command: Document, transaction: Transaction | None) -> Document:  # noqa: N802
        name, database = command["findAndModify"], command["$db"]

        def work(collection: Any) -> Any:
            sort = list((command.get("sort") or {}).items()) or None
            if command.get("remove"):
                return collection.find_one_and_delete(command["query"], sort=sort)
            return collection.find_one_and_update(
                command["query"],
                command["update"],
                upsert=command.get("upsert", False),
                sort=sort,
                return_document=ReturnDocument.AFTER
                if command.get("new")
                else ReturnDocument.BEFORE,
            )

        try:
            found = self.store.write(transaction, database, name, work)
        except DuplicateKeyError as error:
            details = self.store.indexes.violated(f"{database}.{name}", None, str(error))
            failure = CommandFailure(11000, "DuplicateKey", details["errmsg"])
            failure.details = details  # type: ignore[attr-defined]
            raise failure from error
        return {"value": found, "lastErrorObject": {"n": int(found is not None)}}

    def on_find(self, command: Document, transaction: Transaction | None) -> Document:
        collection = self._collection(command, transaction)
        searched, where = text.split(command.get("filter") or {})
        sort = list((command.get("sort") or {}).items())
        if searched is not None:
            found = self._searched(command, collection, searched, where)
            if any(isinstance(order, dict) for _, order in sort):
                found.sort(key=lambda pair: -pair[0])
            documents = [document for _, document in found]
        else:
            cursor = collection.find(where, command.get("projection"))
            documents = list(cursor.sort(sort) if sort else cursor)
        skip, limit = command.get("skip", 0), abs(command.get("limit", 0))
        documents = documents[skip:][: limit or None]
        return self._cursor(command, documents, command.get("batchSize"))

    def _searched(
        self, command: Document, collection: Any, searched: str, where: Document
    ) -> list[tuple[float, Document]]:
        name = command[next(iter(command))]
        indexes = self.store.indexes.of(f"{command['$db']}.{name}")
        return text.scored(searched, collection.find(where), indexes)

    def on_aggregate(self, command: Document, transaction: Transaction | None) -> Document:
        collection, pipeline = self._collection(command, transaction), command["pipeline"]
        searched, where = text.split((pipeline[0] if pipeline else {}).get("$match", {}))
        if searched is not None:
            keys = [doc["_id"] for _, doc in self._searched(command, collection, searched, where)]
            pipeline = [{"$match": {"_id": {"$in": keys}}}, *pipeline[1:]]
        documents = list(collection.aggregate(pipeline))
        return self._cursor(command, documents, (command.get("cursor") or {}).get("batchSize"))

    def on_count(self, command: Document, transaction: Transaction | None) -> Document:
        return {
            "n": self._collection(command, transaction).count_documents(command.get("query") or {})
        }

    def on_getMore(self, command: Document, transaction: Any) -> Document:  # noqa: N802
        number = int(command["getMore"])
        if number not in self._cursors:
            raise CommandFailure(43, "CursorNotFound", f"cursor id {number} not found")
        namespace, rest = self._cursors.pop(number)
        size = command.get("batchSize") or len(rest)
        if rest[size:]:
            self._cursors[number] = namespace, rest[size:]
        left = number if rest[size:] else 0
        return {"cursor": {"id": left, "ns": namespace, "nextBatch": rest[:size]}}

    def _cursor(self, command: Document, documents: list[Document], size: int | None) -> Document:
        namespace = f"{command['$db']}.{command[next(iter(command))]}"
        size = _FIRST_BATCH if size is None else size
        number, rest = 0, documents[size:]
        if rest and not command.get("singleBatch"):
            number = next(self._numbers)
            self._cursors[number] = namespace, rest
        return {"cursor": {"id": number, "ns": namespace, "firstBatch": documents[:size]}}

    def on_create(self, command: Document, transaction: Any) -> None:
        self.store.client[command["$db"]].create_collection(command["create"])

    def on_drop(self, command: Document, transaction: Any) -> None:
        self.store.client[command["$db"]].drop_collection(command["drop"])
        self.store.indexes.drop(f"{command['$db']}.{command['drop']}")

    def on_dropDatabase(self, command: Document, transaction: Any) -> None:  # noqa: N802
        for name in self.store.client[command["$db"]].list_collection_names():
            self.store.indexes.drop(f"{command['$db']}.{name}")
        self.store.client.drop_database(command["$db"])

    def on_listCollections(self, command: Document, transaction: Any) -> Document:  # noqa: N802
        names = self.store.client[command["$db"]].list_collection_names()
        found = [{"name": name, "type": "collection"} for name in names]
        return {"cursor": {"id": 0, "ns": f"{command['$db']}.$cmd", "firstBatch": found}}

    def on_createIndexes(self, command: Document, transaction: Any) -> None:  # noqa: N802
        name = command["createIndexes"]
        database = self.store.client[command["$db"]]
        if name not in database.list_collection_names():
            database.create_collection(name)
        for index in command["indexes"]:
            self.store.indexes.create(f"{command['$db']}.{name}", database[name], index)

    def on_listIndexes(self, command: Document, transaction: Any) -> Document:  # noqa: N802
        name, database = command["listIndexes"], self.store.client[command["$db"]]
        namespace = f"{command['$db']}.{name}"
        if name not in database.list_collection_names():
            raise CommandFailure(26, "NamespaceNotFound", f"ns does not exist: {namespace}")
        found = self.store.indexes.of(namespace)
        return {"cursor": {"id": 0, "ns": namespace, "firstBatch": found}}

    def on_dropIndexes(self, command: Document, transaction: Any) -> None:  # noqa: N802
        name = command["dropIndexes"]
        self.store.indexes.drop(f"{command['$db']}.{name}", command["index"])
        collection = self.store.client[command["$db"]][name]
        if command["index"] in collection.index_information():
            collection.drop_index(command["index"])

    def on_collMod(self, command: Document, transaction: Any) -> None:  # noqa: N802
        namespace, index = f"{command['$db']}.{command['collMod']}", command["index"]
        self.store.indexes.change_ttl(namespace, index["name"], index["expireAfterSeconds"])

    def _collection(self, command: Document, transaction: Transaction | None) -> Any:
        client = self.store.client if transaction is None else transaction.client
        return client[command["$db"]][command[next(iter(command))]]
