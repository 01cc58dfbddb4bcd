"""Stage "export": the averaged weights of all stages as a checkpoint folder with two built-in voices."""

from pathlib import Path

import torch

from .checkpoint import Checkpoint, tensors, write, write_voice
from .encoders import Encoders, encode_clip
from .models.flow import Flow
from .models.hift import HiFT
from .models.t3 import T3
from .presets import SAMPLES_PER_TOKEN
from .stage import Run, averaged
from .teachers import Programs, read_aloud, voice_named
from .text_norm import punc_norm
from .texts import Corpus

BUILT_IN = {"conds.pt": "slt", "voices/rms.pt": "rms"}
PROMPT_TOKENS = (92, 108)  # about 4 s: every utterance pays for the prompt, and longer ones sound no better here
MAX_PARAMETERS, MAX_BYTES = 12_000_000, 25_000_000


def parameter_count(files: dict[str, dict[str, torch.Tensor]]) -> int:
    return sum(v.numel() for values in files.values() for v in values.values() if v.is_floating_point())


def voice_clip(programs: Programs, corpus: Corpus, teacher: str):
    """A teacher's reading of the first held-out sentence that takes about 4 s."""
    for number, sentence in enumerate(corpus.held_out):
        if 45 <= len(sentence) <= 80:
            spoken = read_aloud(programs, voice_named(teacher), punc_norm(sentence), seed=number)
            if PROMPT_TOKENS[0] <= len(spoken) // SAMPLES_PER_TOKEN <= PROMPT_TOKENS[1]:
                return spoken
    raise RuntimeError(f"{teacher}: no held-out sentence takes about 4 s")


def export(run: Run, corpus_file: Path, folder: Path) -> None:
    """Throws when a stage has no state or the checkpoint is larger than it may be."""
    d = run.preset.dims
    parts = {"t3": T3(d), "flow": Flow(d), "hift": HiFT(d), "encoders": Encoders(d)}
    for stage, module in parts.items():
        if averaged(run, stage, module) is None:
            raise RuntimeError(f"{run.state_file(stage)}: not there; train the stage first")
    files = tensors(**parts)
    if parameter_count(files) > MAX_PARAMETERS:
        raise ValueError(f"{parameter_count(files)} parameters: more than {MAX_PARAMETERS}")
    write(folder, d, files)
    # The voices come from the weights as stored, which is what a clone of the same clip will get.
    programs, corpus, checkpoint = Programs(), Corpus(corpus_file), Checkpoint(folder)
    for file, teacher in BUILT_IN.items():
        clip = encode_clip(checkpoint.encoders, voice_clip(programs, corpus, teacher), "cpu")
        write_voice(folder / file, clip)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"{folder}: {size} bytes: more than {MAX_BYTES}")
    print(f"export: {parameter_count(files)} parameters, {size} bytes in {folder}")
