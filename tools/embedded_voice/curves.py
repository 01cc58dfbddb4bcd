"""Training curves as pictures: one PNG for each stage, one panel for each logged figure. Needs matplotlib."""

import csv
from pathlib import Path


def read_curve(file: Path) -> dict[str, list[float]]:
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {key: [float(row[key]) for row in rows] for key in (rows[0] if rows else {})}


def draw(states: Path, target: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    target.mkdir(parents=True, exist_ok=True)
    for file in sorted(states.glob("*.csv")):
        curve = read_curve(file)
        names = [name for name in curve if name not in ("step", "seconds")]
        if not names:
            continue
        figure, axes = pyplot.subplots(1, len(names), figsize=(3.2 * len(names), 2.8), squeeze=False)
        for axis, name in zip(axes[0], names):
            axis.plot(curve["step"], curve[name], linewidth=1)
            axis.set_title(name, fontsize=9)
            axis.set_xlabel("step", fontsize=8)
            axis.grid(alpha=0.3)
        figure.suptitle(f"{file.stem}: {curve['seconds'][-1]:.0f} s of training", fontsize=10)
        figure.tight_layout()
        figure.savefig(target / f"{file.stem}.png", dpi=90)
        pyplot.close(figure)
