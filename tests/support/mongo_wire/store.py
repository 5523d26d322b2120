"""The documents, and the transactions on them: a snapshot each, compared with what others write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mongomock_ng

from tests.support.mongo_wire.failures import no_such_transaction, write_conflict
from tests.support.mongo_wire.indexes import Indexes

Document = dict[str, Any]


@dataclass
class Transaction:
    """A transaction of a session: its own copy of the documents, and what it has written."""

    number: int
    client: Any
    version: int
    written: dict[str, set[Any]] = field(default_factory=dict)
    state: str = "open"


class Store:
    """All documents of the server."""

    def __init__(self) -> None:
        self.client: Any = mongomock_ng.MongoClient()
        self.indexes = Indexes()
        self._version = 0
        self._versions: dict[tuple[str, Any], int] = {}
        self._transactions: dict[bytes, Transaction] = {}

    def begin(self, session: bytes, number: int) -> Transaction:
        """Begin a transaction with a copy of all documents."""
        client: Any = mongomock_ng.MongoClient()
        for database in self.client.list_database_names():
            for name in self.client[database].list_collection_names():
                copy = client[database][name]
                for document in self.client[database][name].find():
                    copy.insert_one(document)
                self.indexes.copy_to(f"{database}.{name}", copy)
        transaction = Transaction(number, client, self._version)
        self._transactions[session] = transaction
        return transaction

    def transaction(self, session: bytes, number: int) -> Transaction:
        """Return the open transaction of a session."""
        found = self._transactions.get(session)
        if found is None or found.number != number or found.state != "open":
            raise no_such_transaction()
        return found

    def write(
        self,
        transaction: Transaction | None,
        database: str,
        name: str,
        work: Callable[[Any], Any],
        key: Any = None,
    ) -> Any:
        """Run what changes a collection, and note which documents it has changed.

        Args:
            transaction: The one that it is a part of.
            database: The database,
            name: and the collection.
            work: Called with mongomock's collection.
            key: Of the only document that can be changed; without it all are compared, before and after.

        Raises:
            CommandFailure: another transaction has changed one of them.
        """
        client = self.client if transaction is None else transaction.client
        collection, namespace = client[database][name], f"{database}.{name}"
        if key is not None:
            result = work(collection)
            self._changed(transaction, namespace, {_hashable(key)})
            return result
        before = dict(_by_key(collection))
        try:
            return work(collection)
        finally:
            after = dict(_by_key(collection))
            changed = {
                key for key in before.keys() | after.keys() if before.get(key) != after.get(key)
            }
            self._changed(transaction, namespace, changed)

    def _changed(self, transaction: Transaction | None, namespace: str, keys: set[Any]) -> None:
        if transaction is None:
            self._note(namespace, keys)
        else:
            self._claim(transaction, namespace, keys)

    def commit(self, session: bytes, number: int) -> None:
        """Store what a transaction has written; once more does nothing."""
        found = self._transactions.get(session)
        if found is not None and found.number == number and found.state == "committed":
            return
        transaction = self.transaction(session, number)
        for namespace, keys in transaction.written.items():
            if any(self._versions.get((namespace, key), 0) > transaction.version for key in keys):
                transaction.state = "aborted"
                raise write_conflict()
        for namespace, keys in transaction.written.items():
            self._move(transaction, namespace, keys)
        transaction.state = "committed"

    def abort(self, session: bytes, number: int) -> None:
        """Drop a transaction, unless the session has begun the next one."""
        found = self._transactions.get(session)
        if found is not None and found.number == number and found.state == "open":
            found.state = "aborted"

    def _claim(self, transaction: Transaction, namespace: str, keys: set[Any]) -> None:
        others = (
            each
            for each in self._transactions.values()
            if each is not transaction and each.state == "open"
        )
        taken = {key for each in others for key in each.written.get(namespace, ())}
        changed = {k for k in keys if self._versions.get((namespace, k), 0) > transaction.version}
        if keys & (taken | changed):
            raise write_conflict()
        transaction.written.setdefault(namespace, set()).update(keys)

    def _move(self, transaction: Transaction, namespace: str, keys: set[Any]) -> None:
        database, _, name = namespace.partition(".")
        copy, own = transaction.client[database][name], self.client[database][name]
        documents = {key: copy.find_one({"_id": key}) for key in keys}
        before = list(own.find())
        try:
            for key in keys:
                own.delete_one({"_id": key})
            for document in documents.values():
                if document is not None:
                    own.insert_one(document)
        except mongomock_ng.DuplicateKeyError:
            own.delete_many({})
            for document in before:
                own.insert_one(document)
            transaction.state = "aborted"
            raise write_conflict() from None
        self._note(namespace, keys)

    def _note(self, namespace: str, keys: set[Any]) -> None:
        if keys:
            self._version += 1
            self._versions.update({(namespace, key): self._version for key in keys})


def _by_key(collection: Any) -> list[tuple[Any, Document]]:
    return [(_hashable(document["_id"]), document) for document in collection.find()]


def _hashable(key: Any) -> Any:
    return repr(key) if isinstance(key, dict | list) else key
