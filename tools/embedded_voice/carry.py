"""Training states between machines: one archive in slices small enough to be handed over one by one.

Optimizer moments and discriminators stay behind: three times the size of the rest, and rebuilt within some hundred
steps. The averaged weights travel as both weights and average.
"""

import io
import tarfile
from pathlib import Path

import torch

STAGES = ("speakers", "tokenizer", "t3", "flow", "hift", "hift-before-gan")
SLICE_BYTES = 15 * 1024 * 1024
MAX_SLICES = 8


def slimmed(state: dict) -> dict:
    average = {k: v.half() if v.is_floating_point() and v.dim() > 1 else v for k, v in state["average"].items()}
    others = {k: v for k, v in state["modules"].items() if k not in ("model", "judges")}
    return {"others": others, "average": average, "average_updates": state["average_updates"], "step": state["step"],
            "seconds": state["seconds"]}  # fmt: skip


def fattened(slim: dict) -> dict:
    average = {k: v.float() if v.is_floating_point() else v for k, v in slim["average"].items()}
    return {
        "modules": {"model": average, **slim["others"]},
        "average": average,
        "average_updates": slim["average_updates"],
        "step": slim["step"],
        "seconds": slim["seconds"],
    }


def carry_out(state_folder: Path, target: Path) -> None:
    """Writes target/state.tar.0, .1, …: the slim states and the curves."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for stage in STAGES:
            file = state_folder / f"{stage}.pt"
            if not file.exists():
                continue
            content = io.BytesIO()
            torch.save(slimmed(torch.load(file, map_location="cpu", weights_only=True)), content)
            info = tarfile.TarInfo(f"{stage}.pt")
            info.size = content.tell()
            content.seek(0)
            tar.addfile(info, content)
        for curve in sorted(state_folder.glob("*.csv")):
            tar.add(curve, curve.name)
    data = archive.getvalue()
    slices = [data[i : i + SLICE_BYTES] for i in range(0, len(data), SLICE_BYTES)]
    if len(slices) > MAX_SLICES:
        raise ValueError(f"{len(data)} bytes of state: more than {MAX_SLICES} slices of {SLICE_BYTES}")
    target.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(slices):
        (target / f"state.tar.{number}").write_bytes(part)


def carry_in(source: Path, state_folder: Path) -> None:
    """Unpacks the slices and curves; a stage that has a state here already keeps it."""
    slices = sorted(source.glob("state.tar.*"), key=lambda f: int(f.suffix[1:]))
    if not slices:
        raise FileNotFoundError(f"{source}: no state.tar.0 there")
    state_folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(b"".join(f.read_bytes() for f in slices))) as tar:
        for member in tar:
            target = state_folder / Path(member.name).name
            if target.exists():
                continue
            content = tar.extractfile(member).read()
            if target.suffix == ".pt":
                torch.save(fattened(torch.load(io.BytesIO(content), weights_only=True)), target)
            else:
                target.write_bytes(content)
