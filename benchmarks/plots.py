"""The plots of docs/performance.md: one small SVG for each thing that grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl

from benchmarks.growth_laws import LAWS

if TYPE_CHECKING:
    from pathlib import Path

mpl.use("svg")  # needs no screen; before pyplot is imported

from matplotlib import pyplot as plt

PLAIN: Final = {
    "svg.fonttype": "none",  # text stays text, which is small and can be read by machines
    "svg.hashsalt": "organism",  # two runs on the same figures write the same file
    "font.size": 8,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def draw(kept: dict[str, Any], folder: Path) -> None:
    """Writes a plot for each case: microseconds of CPU for one on the left, memory on the right, all axes logarithmic."""
    mpl.rcParams.update(PLAIN)
    for case, rows in kept.get("growth", {}).get("cases", {}).items():
        sizes = [row["size"] for row in rows]
        drawn: Any = plt.subplots(1, 2, figsize=(6.4, 2.2), layout="constrained")
        figure, (left, right) = drawn
        left.plot(sizes, [row["cpu_us"] for row in rows], "o-", color="C0", label=LAWS[case].one)
        if all("open_cpu_ms" in row for row in rows):
            left.plot(sizes, [row["open_cpu_ms"] * 1e3 for row in rows], "s--", color="C2", label="to open it")
            left.legend(frameon=False)
        left.set(ylabel=f"us of CPU, {LAWS[case].one}")
        right.plot(sizes, [row["bytes"] / 1024 for row in rows], "o-", color="C1")
        right.set(ylabel="KB in memory")
        for axes in (left, right):
            axes.set(xscale="log", yscale="log", xlabel=LAWS[case].grows)
            low, high = axes.get_ylim()
            if high / low < 10:  # what is flat looks flat
                middle = (high * low) ** 0.5
                axes.set_ylim(middle / 5, middle * 5)
        figure.savefig(folder / f"{case}.svg", metadata={"Date": None})
        plt.close(figure)
