"""``MongoWire``: listens, keeps sessions and transactions apart, and plays the planned faults."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from tests.support.mongo_wire.commands import Commands
from tests.support.mongo_wire.failures import CommandFailure
from tests.support.mongo_wire.protocol import Command, Message, read_message
from tests.support.mongo_wire.store import Transaction

_HELLO = ("hello", "ismaster", "isMaster")


@dataclass
class Fault:
    """What happens to the next commands of a name."""

    command: str
    action: Literal["fail", "cut before", "cut within", "cut after", "stall"]
    """Answer with an error; or close the connection before the command runs, within its answer, or
    instead of its answer; or give no answer until ``released``."""
    times: int = 1
    code: int = 0
    labels: tuple[str, ...] = ()
    seen: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@dataclass
class MongoWire:
    """One server, in a thread of its own: a replica set of one member, or a standalone one."""

    replica_set: bool = True
    port: int = 0
    commands: list[str] = field(default_factory=list)
    """The names of the commands that it has got, without the monitors'."""
    faults: list[Fault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._commands = Commands()
        self._answers: dict[tuple[bytes, int], Command] = {}
        self._links: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self.listen()

    def stop(self) -> None:
        """Close everything."""
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def listen(self) -> None:
        """Accept connections, on the same port as before."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def refuse(self) -> None:
        """Close all connections, and refuse new ones."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self._loop).result()

    def add(self, command: str, action: Any, **options: Any) -> Fault:
        """Plan a fault."""
        fault = Fault(command, action, **options)
        self.faults.append(fault)
        return fault

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = self._loop.create_task(self._serve(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while await self._answer(await read_message(reader), writer):
                    pass
        finally:
            writer.transport.abort()

    async def _answer(self, message: Message, writer: asyncio.StreamWriter) -> bool:
        """Answer one command, and return whether the connection goes on."""
        if message.name in _HELLO:
            writer.write(message.answer(self._hello(message)))
            return True
        self.commands.append(message.name)
        fault = self._fault(message.name)
        if fault is not None:
            fault.seen.set()
            if fault.action == "cut before":
                return False
            if fault.action == "stall":
                while not fault.released.is_set():
                    await asyncio.sleep(0.01)
        answer = message.answer(self._run(message.command, fault))
        if fault is not None and fault.action == "cut after":
            return False
        if fault is not None and fault.action == "cut within":
            writer.write(answer[: len(answer) // 2])
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return True

    def _fault(self, name: str) -> Fault | None:
        for fault in self.faults:
            if fault.command == name and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _run(self, command: Command, fault: Fault | None) -> Command:
        session = bytes(command.get("lsid", {}).get("id", b""))
        number = int(command.get("txnNumber", -1))
        in_transaction = command.get("autocommit") is False
        # A write that the client sends again because its answer was lost.
        known = None if in_transaction or number < 0 else self._answers.get((session, number))
        if known is not None:
            return known
        try:
            if fault is not None and fault.action == "fail":
                raise CommandFailure(fault.code, "Fault", "planned", list(fault.labels))
            if in_transaction:
                answer = self._in_transaction(command, session, number)
            else:
                answer = self._commands.run(command, None)
        except CommandFailure as failure:
            if in_transaction and "UnknownTransactionCommitResult" not in failure.labels:
                self._commands.store.abort(session, number)
            return failure.document() | getattr(failure, "details", {})
        if in_transaction and answer.get("writeErrors"):
            self._commands.store.abort(session, number)
        elif number >= 0:
            self._answers[session, number] = answer
        return answer

    def _in_transaction(self, command: Command, session: bytes, number: int) -> Command:
        if not self.replica_set:
            message = "Transaction numbers are only allowed on a replica set member or mongos"
            raise CommandFailure(20, "IllegalOperation", message)
        store, name = self._commands.store, next(iter(command))
        if name == "commitTransaction":
            store.commit(session, number)
            return {"ok": 1.0}
        if name == "abortTransaction":
            store.transaction(session, number).state = "aborted"
            return {"ok": 1.0}
        transaction: Transaction
        if command.get("startTransaction"):
            transaction = store.begin(session, number)
        else:
            transaction = store.transaction(session, number)
        return self._commands.run(command, transaction)

    def _hello(self, message: Message) -> Command:
        address = f"127.0.0.1:{self.port}"
        member = {
            "setName": "rs0",
            "setVersion": 1,
            "secondary": False,
            "hosts": [address],
            "primary": address,
            "me": address,
        }
        return {
            "helloOk": True,
            "isWritablePrimary": True,
            "ismaster": True,
            **(member if self.replica_set else {}),
            "maxBsonObjectSize": 16 * 1024 * 1024,
            "maxMessageSizeBytes": 48_000_000,
            "maxWriteBatchSize": 100_000,
            "localTime": datetime.now(UTC),
            "logicalSessionTimeoutMinutes": 30,
            "minWireVersion": 0,
            "maxWireVersion": 25,
            "readOnly": False,
            "ok": 1.0,
        }


@contextmanager
def mongo_wire(*, replica_set: bool = True) -> Iterator[MongoWire]:
    """Run a server."""
    wire = MongoWire(replica_set)
    wire.start()
    try:
        yield wire
    finally:
        wire.stop()
