"""16-bit mono WAV files."""

import wave
from pathlib import Path

import numpy as np


def write_wav(file: Path, samples, rate: int = 24_000) -> None:
    """@p samples: floats within ±1."""
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes((np.clip(np.asarray(samples), -1, 1) * 32767).round().astype("<i2").tobytes())


def read_wav(file: Path) -> np.ndarray:
    """Floats; one channel of 16 bits is expected."""
    with wave.open(str(file)) as wav:
        if wav.getnchannels() != 1 or wav.getsampwidth() != 2:
            raise ValueError(f"{file}: expected one channel of 16 bits")
        return np.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2").astype(np.float32) / 32768
