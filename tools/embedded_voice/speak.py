"""Reading one text with a checkpoint in torch."""

from pathlib import Path

from .checkpoint import Checkpoint
from .wav import write_wav


def speak(folder: Path, text: str, voice_file: str, seed: int, output: Path) -> None:
    checkpoint = Checkpoint(folder)
    voice = checkpoint.voice(voice_file)
    tokens = checkpoint.tokens(text, voice, seed)
    if not tokens:
        raise RuntimeError("the model stopped at once: nothing to write")
    write_wav(output, checkpoint.wave(tokens, voice, seed))
    print(f"speak: {len(tokens)} tokens, {len(tokens) / 25:.1f} s in {output}")
