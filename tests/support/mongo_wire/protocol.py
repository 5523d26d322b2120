"""The messages of the wire protocol: OP_MSG, and OP_QUERY for the first ``hello`` of a client.

https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass
from itertools import count
from typing import Any

import bson
from bson.codec_options import CodecOptions

Command = dict[str, Any]

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
_HEADER = struct.Struct("<iiii")
_CHECKSUM = 1
# What mongomock stores: naive datetimes, and BSON's own types for UUID and decimals.
_OPTIONS: CodecOptions[Command] = CodecOptions(tz_aware=False)
_numbers = count(1)


@dataclass(frozen=True)
class Message:
    """A command with the number of its message, and how to answer."""

    number: int
    code: int
    command: Command

    @property
    def name(self) -> str:
        return next(iter(self.command))

    def answer(self, document: Command) -> bytes:
        """Return the bytes of the answer."""
        if self.code == OP_QUERY:
            body = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(document)
            return _with_header(OP_REPLY, self.number, body)
        body = struct.pack("<IB", 0, 0) + bson.encode(document)
        return _with_header(OP_MSG, self.number, body)


async def read_message(reader: asyncio.StreamReader) -> Message:
    """Read one message.

    Raises:
        asyncio.IncompleteReadError: the client has left.
    """
    length, number, _, code = _HEADER.unpack(await reader.readexactly(_HEADER.size))
    body = await reader.readexactly(length - _HEADER.size)
    if code == OP_MSG:
        return Message(number, code, _sections(body))
    if code == OP_QUERY:
        start = body.index(b"\0", 4) + 9
        return Message(number, code, bson.decode(body[start:], _OPTIONS))
    raise ValueError(f"unknown opcode {code}")


def _sections(body: bytes) -> Command:
    """Join the sections: the command, and the sequences of documents that belong into it."""
    (flags,) = struct.unpack_from("<I", body)
    end, position = len(body) - (4 if flags & _CHECKSUM else 0), 4
    command: Command = {}
    sequences: dict[str, list[Command]] = {}
    while position < end:
        kind, (size,) = body[position], struct.unpack_from("<i", body, position + 1)
        section = body[position + 1 : position + 1 + size]
        if kind == 0:
            command = bson.decode(section, _OPTIONS)
        else:
            name, _, documents = section[4:].partition(b"\0")
            sequences[name.decode()] = bson.decode_all(documents, _OPTIONS)
        position += 1 + size
    return {**command, **sequences}


def _with_header(code: int, answers: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), next(_numbers), answers, code) + body
