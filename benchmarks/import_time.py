"""How much longer is importing the library than importing what it stands on?

Runs both in fresh processes, interleaved. ``python benchmarks/import_time.py [ROUNDS]``
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

SUBJECTS = {
    "fastapi and sqlalchemy.ext.asyncio": "import fastapi, sqlalchemy.ext.asyncio",
    "fastapi_asyncdb": "from fastapi_asyncdb import DB",
}


def seconds(statement: str) -> float:
    """Return the time that a fresh interpreter takes for the statement."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - started


def main(rounds: int) -> None:
    """Print the medians and their ratio."""
    times: dict[str, list[float]] = {name: [] for name in SUBJECTS}
    for _ in range(rounds):
        for name, statement in SUBJECTS.items():
            times[name].append(seconds(statement))
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{median * 1000:8.0f} ms  {name}")
    base, ours = medians.values()
    print(f"{ours / base:8.2f}     ratio; the limit is 1.3")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
