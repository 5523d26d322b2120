"""CPU of the application's process for one request, without a web server."""

from __future__ import annotations

from benchmarks.caller import Caller
from benchmarks.contenders import Contender
from benchmarks.run import Numbers, Run, with_ratios

KINDS = {
    "read": ("GET", "/items/1"),
    "write": ("POST", "/items"),
    "no SQL": ("GET", "/nothing"),
}


def measure(run: Run) -> Numbers:
    """Call each application in a process of its own, interleaved; microseconds."""

    def open_subject(contender: Contender) -> Caller:
        return Caller(contender, run.url)

    def sample(caller: Caller) -> dict[str, float]:
        return {
            kind: caller.call(*call, run.effort.requests).cpu * 1e6 for kind, call in KINDS.items()
        }

    return with_ratios(
        run.interleave(run.contenders, open_subject, sample, rounds=run.effort.rounds)
    )
