"""pocketsphinx (Debian, with its en-us model) as a judge: which of given word sequences was said. Python's standard
library alone, so that the daemon's tests can use it too.

Grammars are finite-state: a chain of words for each candidate. Audio is 16 kHz and gets dithered, because on digital
silence the recogniser fails. Many utterances go through one call, each with a grammar of its own.
"""

import random
import re
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path

MODEL = Path("/usr/share/pocketsphinx/model/en-us")
SAMPLE_RATE = 16_000
DITHER_LSB = 4
SKIP_PROBABILITY = 0.02


def pronounceable() -> set[str]:
    """Words of the recogniser's dictionary."""
    return {
        line.split()[0]
        for line in (MODEL / "cmudict-en-us.dict").read_text().splitlines()
        if "(" not in line.split()[0]
    }


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower().replace("-", " ").replace("' ", " "))


def choice_grammar(candidates: list[list[str]]) -> str:
    """One of the word sequences, from state 0 to state 1."""
    lines, states = [], 2
    for words in candidates:
        path = [0, *range(states, states + len(words) - 1), 1]
        states += len(words) - 1
        lines += [
            f"TRANSITION {a} {b} {1 / len(candidates) if a == 0 else 1.0:.6f} {word}"
            for a, b, word in zip(path, path[1:], words)
        ]
    return fsg(states, 1, lines)


def skip_grammar(words: list[str]) -> str:
    """The words in order, each of which may be left out."""
    lines = []
    for i, word in enumerate(words):
        lines += [f"TRANSITION {i} {i + 1} {1 - SKIP_PROBABILITY} {word}", f"TRANSITION {i} {i + 1} {SKIP_PROBABILITY}"]
    return fsg(len(words) + 1, len(words), lines)


def fsg(states: int, final: int, transitions: list[str]) -> str:
    head = ["FSG_BEGIN candidates", f"NUM_STATES {states}", "START_STATE 0", f"FINAL_STATE {final}"]
    return "\n".join([*head, *transitions, "FSG_END", ""])


def dithered(clip: Sequence[int], draw: random.Random) -> bytes:
    """Little-endian 16-bit samples."""
    samples = array("h", (max(-32767, min(32767, s + draw.randint(-DITHER_LSB, DITHER_LSB))) for s in clip))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def recognise_clips(clips: Sequence[Sequence[int]], grammars: Sequence[str]) -> list[list[str]]:
    """The words heard in each clip (16-bit samples at 16 kHz) under its grammar; none for one that fits no path."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, (clip, grammar) in enumerate(zip(clips, grammars, strict=True)):
            (folder / f"{i}.raw").write_bytes(dithered(clip, draw))
            (folder / f"{i}.fsg").write_text(grammar)
        (folder / "ctl").write_text("".join(f"{i}\n" for i in range(len(clips))))
        options = {
            "hmm": MODEL / "en-us", "dict": MODEL / "cmudict-en-us.dict", "adcin": "yes", "cepdir": folder,
            "cepext": ".raw", "ctl": folder / "ctl", "fsgctl": folder / "ctl", "fsgdir": folder, "fsgext": ".fsg",
            "hyp": folder / "hyp", "bestpath": "no",
        }  # fmt: skip
        command = ["pocketsphinx_batch", *(str(part) for key, value in options.items() for part in ("-" + key, value))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"pocketsphinx_batch failed ({done.returncode}): {done.stderr[-500:]}")
        heard: dict[int, list[str]] = {}
        for line in (folder / "hyp").read_text().splitlines():
            words, number = re.fullmatch(r"(.*?)\s*\((\d+) -?\d+\)", line).groups()
            heard[int(number)] = [re.sub(r"\(\d+\)$", "", w) for w in words.split() if not w.startswith("<")]
        return [heard.get(i, []) for i in range(len(clips))]
