#!/usr/bin/python3
"""Do two clips give two speakers? Clips of the embedded model's two voices become voices of their own by
`audiobookctl voice add`, another text is read in each, and the pitch of what is heard is measured: a clone has the pitch
of its clip, and not that of the other's.

    cloned_voices.py AUDIOBOOKD AUDIOBOOKCTL

The measure is autocorrelation of the decoded MP3 and knows nothing of the models.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import unittest
from array import array
from pathlib import Path

CLIP_TEXT = "The old road went down to the water between two rows of trees, and nobody had used it for many years.\n"
TEXT = "In the morning the keeper climbed the stairs, and looked out over the harbour.\n"
MODEL = Path(__file__).resolve().parents[2] / "models" / "embedded"
SPEAKERS = ("default", "rms")  # a woman's voice and a man's
RATE = 4_000  # enough for pitch
LOWEST_HZ, HIGHEST_HZ = 60, 320
LEAST_VOICED = 0.5  # normalised autocorrelation of a voiced frame
SAME, OTHER = 1.15, 1.3  # ratios of median pitch


def decoded(mp3: Path) -> list[int]:
    command = ["ffmpeg", "-v", "error", "-i", mp3, "-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"]
    return array("h", subprocess.run(command, check=True, capture_output=True).stdout).tolist()


def pitch_of_frame(frame: list[int], longest_lag: int) -> float | None:
    """Hz; None when the frame is not voiced. @p frame holds longest_lag more samples than are compared."""
    length = len(frame) - longest_lag
    head = frame[:length]
    energy = sum(s * s for s in head)
    best, best_lag = 0.0, 0
    for lag in range(RATE // HIGHEST_HZ, longest_lag + 1):
        shifted = frame[lag : lag + length]
        norm = (energy * sum(s * s for s in shifted)) ** 0.5
        if norm > 0 and (score := sum(a * b for a, b in zip(head, shifted)) / norm) > best + 0.02:
            best, best_lag = score, lag  # a longer lag has to be better: no octave too low
    return RATE / best_lag if best >= LEAST_VOICED else None


def median_pitch(samples: list[int]) -> float:
    longest_lag = RATE // LOWEST_HZ
    window, step = RATE // 25 + longest_lag, RATE // 50
    loud = max(map(abs, samples)) / 20
    frames = (samples[i : i + window] for i in range(0, len(samples) - window, step))
    pitches = [pitch_of_frame(f, longest_lag) for f in frames if max(map(abs, f)) > loud]
    return statistics.median(p for p in pitches if p)


class ClonedVoices(unittest.TestCase):
    program: Path
    control: Path

    def render(self, text: str, voice: str, to: Path) -> list[int]:
        source = to.with_suffix(".txt")
        source.write_text(text)
        command = [self.program, "render", source, "-o", to, "--voice", voice, "--cache", to.with_suffix(".cache")]
        subprocess.run(command, check=True, capture_output=True, env=self.environment)
        return decoded(to)

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.folder = Path(self.temporary.name)
        self.environment = os.environ | {"XDG_DATA_HOME": str(self.folder / "data")}

    def test_a_tone_has_its_pitch(self):
        for hertz in (90, 125, 200):
            tone = [8000 if (i * hertz) % RATE < RATE // 2 else -8000 for i in range(RATE)]
            self.assertAlmostEqual(median_pitch(tone) / hertz, 1, delta=0.05)

    def test_two_clips_give_two_speakers(self):
        clip_hz, clone_hz = {}, {}
        for speaker in SPEAKERS:
            clip = self.folder / f"clip-{speaker}.mp3"
            clip_hz[speaker] = median_pitch(self.render(CLIP_TEXT, speaker, clip))
            name = f"clone-of-{speaker}"
            command = [self.control, "voice", "add", name, clip, "--model", MODEL, "--consent", "a synthesizer's voice"]
            subprocess.run(command, check=True, capture_output=True, env=self.environment)
            clone_hz[speaker] = median_pitch(self.render(TEXT, name, self.folder / f"{name}.mp3"))
        print(f"median pitch in Hz: clips {clip_hz}, clones {clone_hz}")
        first, second = SPEAKERS
        for speaker in SPEAKERS:
            ratio = clone_hz[speaker] / clip_hz[speaker]
            self.assertLess(max(ratio, 1 / ratio), SAME, speaker)
        self.assertGreater(clone_hz[first] / clone_hz[second], OTHER)


if __name__ == "__main__":
    ClonedVoices.program, ClonedVoices.control = (Path(argument).resolve() for argument in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1])
