"""The charts of a run, as PNG files. Draws numbers, and measures none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.measures.answers import RATE
from benchmarks.measures.goodput import LIMITED, LOADS
from benchmarks.measures.latency import DELAYS
from benchmarks.run import Numbers
from benchmarks.targets import Results

OWN, OTHER, PALE = "#d1495b", "#6b7a8f", "#c3cbd6"
SERVER = "#edae49"
VARIANTS = {contender.name for contender in CONTENDERS if contender.variant}
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
}


def throughput(numbers: Numbers, axes: Sequence[Any]) -> None:
    """Draw reads and writes for each second."""
    for axis, kind in zip(axes, ("read", "write"), strict=True):
        bars(axis, numbers, f"{kind}s/s")
        axis.set_title(f"{kind}s per second, 16 clients, default pool")


def latency(numbers: Numbers, axes: Sequence[Any]) -> None:
    """Draw the latency of reads and writes with the slowest network."""
    shown = {name: values for name, values in numbers.items() if name not in VARIANTS}
    for axis, kind in zip(axes, ("read", "write"), strict=True):
        bars(axis, shown, f"{kind} at {DELAYS[-1]} ms")
        axis.set_title(f"ms for one {kind}, {DELAYS[-1]} ms to the database")


def goodput(numbers: Numbers, axes: Sequence[Any]) -> None:
    """Draw answers for each second over the number of clients."""
    (axis,) = axes
    lines(axis, numbers, {load: f"{load}x" for load in LOADS})
    axis.set(title="answers per second", xlabel="load, times the capacity of 5 connections")
    axis.set_ylim(bottom=0)
    axis.set_xticks(LOADS)


def streams(numbers: Numbers, axes: Sequence[Any]) -> None:
    """Draw how many streams stay open."""
    (axis,) = axes
    bars(axis, numbers, "streams")
    axis.set_title("open streams on 5 connections, one query a second each")


def answers(numbers: Numbers, axes: Sequence[Any]) -> None:
    """Draw the CPU of both sides for posts with relations, and how many answers there are a second."""
    cpu, rate = axes
    kind = "with relations"
    names = [name for name in reversed(numbers) if kind in numbers[name]]
    own = [numbers[name][kind] / 1e3 for name in names]
    servers = [numbers[name][f"{kind}, PostgreSQL"] / 1e3 for name in names]
    cpu.barh(names, own, color=[color(name) for name in names])
    drawn = cpu.barh(names, servers, left=own, color=SERVER, label="of it PostgreSQL's")
    both = [each + server for each, server in zip(own, servers, strict=True)]
    cpu.bar_label(drawn, [f"{value:.1f}" for value in both], padding=3)
    cpu.legend(fontsize=8, loc="lower right")
    bare(cpu)
    cpu.set_title("ms of CPU for 100 posts, an author and 5 tags each")
    bars(rate, numbers, RATE)
    rate.set_title("answers per second, 16 clients")


def bars(axis: Any, numbers: Numbers, column: str) -> None:
    """Draw a bar for each contender."""
    shown = {name: values[column] for name, values in numbers.items() if column in values}
    names = list(reversed(shown))
    drawn = axis.barh(names, [shown[name] for name in names], color=[color(name) for name in names])
    axis.bar_label(drawn, fmt="{:,.0f}", padding=3)
    bare(axis)


def bare(axis: Any) -> None:
    """Show names and bars, whose values are written beside them."""
    axis.margins(x=0.15)
    axis.xaxis.set_visible(False)
    axis.spines["bottom"].set_visible(False)
    axis.tick_params(left=False)


def lines(axis: Any, numbers: Numbers, columns: Mapping[int, str]) -> None:
    """Draw a line for each contender."""
    styles = {OURS.name: "-", LIMITED.name: "--"}
    for name, values in numbers.items():
        points = {x: values[column] for x, column in columns.items() if column in values}
        own = color(name) == OWN
        axis.plot(
            list(points),
            list(points.values()),
            styles.get(name, ":" if own else "-"),
            marker="o",
            markersize=4,
            color=OWN if own else None,
            linewidth=2.5 if own else 1.2,
            label=name,
        )
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def color(name: str) -> str:
    """Return the colour of a contender: ours, the limit, or another's."""
    if name.startswith(OURS.name):
        return OWN
    return PALE if name == "raw asyncpg" else OTHER


CHARTS: dict[str, tuple[Callable[[Numbers, Sequence[Any]], None], int]] = {
    "throughput": (throughput, 2),
    "latency": (latency, 2),
    "goodput": (goodput, 1),
    "streams": (streams, 1),
    "answers": (answers, 2),
}
"""For each measure that has a chart: what draws it, and on how many axes."""


def draw(results: Results, folder: Path) -> list[str]:
    """Write the charts of the measures that were taken; return the names of the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, (plot, count) in CHARTS.items():
        if results.get(name):
            files.append(f"{name}.png")
            with plt.rc_context(STYLE):
                figure, axes = plt.subplots(
                    1, count, figsize=(11 if count == 2 else 7, 3.6), squeeze=False
                )
                plot(results[name], list(axes[0]))
                figure.tight_layout()
                figure.savefig(folder / files[-1], dpi=110)
                plt.close(figure)
    return files
