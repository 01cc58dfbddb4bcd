"""The teachers: free synthesizers from Debian, run as programs, and the voices made of them.

flite's slt, rms and awb were built from CMU ARCTIC recordings, kal from CMU's diphone database; espeak-ng is a
formant synthesizer. A voice is a program's voice, optionally with the vocal tract scaled: played faster or slower
(pitch and formants move together) while the program itself is asked to speak slower or faster, so that the tempo stays.
"""

import os
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from .audio import resample
from .presets import MAX_SPEECH_TOKENS, SAMPLE_RATE, SAMPLES_PER_TOKEN

LEAD_S, TAIL_S = 0.06, 0.15
LEVEL = 0.08  # RMS of what is not silence
NOISE = 1e-4  # against digital silence, whose log mel is a cliff


TIMEOUT_S = 60  # a reading takes a fraction of a second


class TeacherError(RuntimeError):
    """A program failed on a text, or said nothing."""


@dataclass(frozen=True)
class Voice:
    name: str
    program: str  # flite or espeak-ng
    model: str  # of the program
    weight: float  # share of the utterances, relative; 0: held out, for tests of cloning
    scale: Fraction = Fraction(1)  # of pitch and formants
    stretch: float = 1.0  # of the program's durations
    pitch: int = 50  # espeak-ng only


STRETCH = {"slt": 1.0, "rms": 0.9, "awb": 1.0, "kal": 1.04}  # all near 1.6 tokens a character, as books are planned


def flite(name, weight, scale=100):
    model = {"kal": "kal16"}.get(name, name)
    name_of_scaled = name if scale == 100 else f"{name}-{scale}"
    return Voice(name_of_scaled, "flite", model, weight, Fraction(scale, 100), STRETCH[name])


def espeak(model, weight, pitch=50):
    return Voice(f"espeak-{model}-{pitch}", "espeak-ng", model, weight, pitch=pitch)


VOICES = (
    flite("slt", 10), flite("rms", 6), flite("awb", 2.5),
    flite("kal", 1.5), espeak("en-us", 1.5),
    *(flite(name, 0.4, scale) for name in ("slt", "rms", "awb") for scale in (86, 93, 107, 115)),
    flite("kal", 0.4, 90), flite("kal", 0.4, 111),
    *(espeak(model, 0.15, pitch) for model, pitch in (
        ("en-us+f2", 50), ("en-us+f4", 60), ("en-us+m3", 40), ("en-us+m7", 30), ("en-gb", 50), ("en-gb+f3", 45),
        ("en-gb+m2", 60), ("en-gb-x-rp+f5", 50), ("en-gb-x-rp+m4", 35), ("en-gb-scotland", 55),
        ("en-gb-scotland+f1", 50), ("en-029+m1", 45))),
    # Never trained on:
    flite("slt", 0, 111), flite("rms", 0, 90), flite("rms", 0, 111), espeak("en-gb+f4", 0, 40),
    espeak("en-us+m5", 0, 65),
)  # fmt: skip
TRAINED = tuple(v for v in VOICES if v.weight > 0)
HELD_OUT = tuple(v for v in VOICES if v.weight == 0)
VOICE_NUMBER = {v.name: i for i, v in enumerate(VOICES)}


def voice_named(name: str) -> Voice:
    return VOICES[VOICE_NUMBER[name]]


class Programs:
    """Where flite and espeak-ng are: installed, or in the folder that pack.py filled (EMBEDDED_VOICE_BUNDLE)."""

    def __init__(self):
        bundle = os.environ.get("EMBEDDED_VOICE_BUNDLE")
        self.environment = dict(os.environ)
        self.prefix, self.espeak_data = "", []
        if bundle:
            self.prefix = f"{Path(bundle).resolve()}/bin/"
            self.environment["LD_LIBRARY_PATH"] = f"{Path(bundle).resolve()}/lib"
            self.espeak_data = [f"--path={Path(bundle).resolve()}/share"]
        for program in ("flite", "espeak-ng"):
            if not shutil.which(self.prefix + program):
                raise FileNotFoundError(f"{self.prefix}{program}: not found (Debian packages flite and espeak-ng)")

    def command(self, voice: Voice, text: Path, wav: Path) -> list[str]:
        if voice.program == "flite":
            stretch = f"duration_stretch={voice.stretch * float(voice.scale):.4f}"
            return [f"{self.prefix}flite", "-voice", voice.model, "--setf", stretch, "-f", str(text), "-o", str(wav)]
        return [
            f"{self.prefix}espeak-ng",
            *self.espeak_data,
            "-v",
            voice.model,
            "-p",
            str(voice.pitch),
            "-s",
            "155",
            "-f",
            str(text),
            "-w",
            str(wav),
        ]

    def speak(self, voice: Voice, text: str) -> tuple[np.ndarray, int]:
        """What the program says, int16, and its sample rate.

        Throws TeacherError with the program's words when it fails, subprocess.TimeoutExpired when it hangs."""
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(dir=memory) as folder:
            text_file, wav_file = Path(folder) / "text", Path(folder) / "wav"
            text_file.write_text(text + "\n")
            done = subprocess.run(
                self.command(voice, text_file, wav_file),
                env=self.environment | {"PULSE_RUNTIME_PATH": folder},  # espeak-ng's audio library leaves files there
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
            if done.returncode != 0 or not wav_file.exists():
                raise TeacherError(f"{voice.name} failed ({done.returncode}) on {text!r}: {done.stderr.strip()}")
            with wave.open(str(wav_file)) as wav:
                samples = np.frombuffer(wav.readframes(wav.getnframes()), dtype="<i2")
                return samples, wav.getframerate()


def without_silence(samples: torch.Tensor) -> torch.Tensor:
    """Cut to where 10 ms frames are less than 40 dB below the loudest."""
    frame = SAMPLE_RATE // 100
    levels = samples[: len(samples) // frame * frame].view(-1, frame).square().mean(1)
    loud = torch.nonzero(levels > 1e-4 * levels.max()).flatten()
    return samples[int(loud[0]) * frame : (int(loud[-1]) + 1) * frame]


def to_utterance(spoken: np.ndarray, rate: int, scale: Fraction, seed: int) -> np.ndarray:
    """24 kHz int16 of whole 40 ms tokens: 60 ms lead, at least 150 ms tail, one level, a trace of noise."""
    ratio = Fraction(SAMPLE_RATE, rate) / scale
    if not spoken.any():
        raise TeacherError("silence")
    samples = torch.from_numpy(spoken.astype(np.float32) / 32768)[None]
    samples = without_silence(resample(samples, ratio.numerator, ratio.denominator)[0])
    loud = samples[samples.abs() > 0.02 * samples.abs().max()]
    samples = samples * (LEVEL / loud.square().mean().sqrt())
    lead, tail = int(LEAD_S * SAMPLE_RATE), int(TAIL_S * SAMPLE_RATE)
    tokens = -(-(lead + len(samples) + tail) // SAMPLES_PER_TOKEN)
    out = NOISE * torch.randn(tokens * SAMPLES_PER_TOKEN, generator=torch.Generator().manual_seed(seed))
    out[lead : lead + len(samples)] += samples
    return (out.clamp(-0.999, 0.999) * 32767).round().short().numpy()


def read_aloud(programs: Programs, voice: Voice, text: str, seed: int) -> np.ndarray | None:
    """An utterance of @p voice, or None when it would be longer than the daemon ever asks for."""
    utterance = to_utterance(*programs.speak(voice, text), voice.scale, seed)
    return utterance if len(utterance) <= MAX_SPEECH_TOKENS * SAMPLES_PER_TOKEN else None
