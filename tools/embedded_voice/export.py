"""Stage "export": the averaged weights of all stages as a checkpoint folder with two built-in voices."""

from pathlib import Path

import torch

from .checkpoint import Checkpoint, tensors, write, write_voice
from .encoders import assembled, encode_clip
from .models.flow import Flow
from .models.hift import HiFT
from .models.t3 import T3
from .stage import Run, averaged
from .teachers import Programs, read_aloud, voice_named

BUILT_IN = {"conds.pt": "slt", "voices/rms.pt": "rms"}
# What the built-in voices say to introduce themselves: about 3 s, since flow carries them along in every utterance.
PROMPT_TEXT = "The harbour lay quiet under a thin morning mist."
MAX_PARAMETERS, MAX_BYTES = 12_000_000, 25_000_000


def parameter_count(files: dict[str, dict[str, torch.Tensor]]) -> int:
    return sum(v.numel() for values in files.values() for v in values.values() if v.is_floating_point())


def export(run: Run, folder: Path, cloning: bool = True) -> None:
    """Throws when a stage has no state or the checkpoint is larger than it may be."""
    d = run.preset.dims
    parts = {"t3": T3(d), "flow": Flow(d), "hift": HiFT(d)}
    for stage in (*parts, "speakers", "tokenizer"):
        if not run.state_file(stage).exists():
            raise RuntimeError(f"{run.state_file(stage)}: not there; train the stage first")
    parts = {stage: averaged(run, stage, module) for stage, module in parts.items()} | {"encoders": assembled(run)}
    files = tensors(**parts)
    if parameter_count(files) > MAX_PARAMETERS:
        raise ValueError(f"{parameter_count(files)} parameters: more than {MAX_PARAMETERS}")
    write(folder, d, files, cloning)
    # The voices come from the weights as stored, which is what a clone of the same clip will get.
    programs, checkpoint = Programs(), Checkpoint(folder)
    for file, teacher in BUILT_IN.items():
        clip = read_aloud(programs, voice_named(teacher), PROMPT_TEXT, seed=0)
        write_voice(folder / file, encode_clip(checkpoint.encoders, clip, "cpu"))
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"{folder}: {size} bytes: more than {MAX_BYTES}")
    print(f"export: {parameter_count(files)} parameters, {size} bytes in {folder}")
