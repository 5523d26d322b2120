"""A server that speaks MongoDB's wire protocol over TCP, with mongomock-ng behind; and plays faults.

It proves that the real PyMongo client, its pool, its sessions and its error labels work with this
library. It does not prove what MongoDB's storage does: query planning, collation, stemming of text,
elections, authentication, TLS. Its transactions are snapshots with a check for conflicts; a write
outside of a transaction does not wait for one that is open, as MongoDB's does.
"""

from tests.support.mongo_wire.server import Fault, MongoWire, mongo_wire

__all__ = ["Fault", "MongoWire", "mongo_wire"]
