"""pocketsphinx (Debian, with its en-us model) as a judge: which of given word sequences was said.

Grammars are finite-state: a chain of words for each candidate. Audio is resampled to 16 kHz and dithered, because on
digital silence the recogniser fails. Many utterances go through one call, each with a grammar of its own.
"""

import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from .audio import to_16k

MODEL = Path("/usr/share/pocketsphinx/model/en-us")
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


def coverage(waves: list[np.ndarray], texts: list[list[str]]) -> list[float]:
    """The share of each text's words that its wave lets be heard, in order."""
    return [len(h) / len(w) for h, w in zip(recognise(waves, [skip_grammar(w) for w in texts]), texts)]


def fsg(states: int, final: int, transitions: list[str]) -> str:
    head = ["FSG_BEGIN candidates", f"NUM_STATES {states}", "START_STATE 0", f"FINAL_STATE {final}"]
    return "\n".join([*head, *transitions, "FSG_END", ""])


def recognise(waves: list[np.ndarray], grammars: list[str]) -> list[list[str]]:
    """The words heard in each 24 kHz wave under its grammar; nothing for one that fits no path."""
    dither = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for i, (wave, grammar) in enumerate(zip(waves, grammars)):
            samples = to_16k(torch.from_numpy(np.asarray(wave, dtype=np.float32))[None])[0].numpy() * 32767
            samples = samples + dither.uniform(-DITHER_LSB, DITHER_LSB, len(samples))
            samples.clip(-32767, 32767).astype("<i2").tofile(folder / f"{i}.raw")
            (folder / f"{i}.fsg").write_text(grammar)
        ids = "".join(f"{i}\n" for i in range(len(waves)))
        (folder / "ctl").write_text(ids)
        command = [
            "pocketsphinx_batch",
            "-hmm",
            str(MODEL / "en-us"),
            "-dict",
            str(MODEL / "cmudict-en-us.dict"),
            "-adcin",
            "yes",
            "-cepdir",
            name,
            "-cepext",
            ".raw",
            "-ctl",
            str(folder / "ctl"),
            "-fsgctl",
            str(folder / "ctl"),
            "-fsgdir",
            name,
            "-fsgext",
            ".fsg",
            "-hyp",
            str(folder / "hyp"),
            "-bestpath",
            "no",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"pocketsphinx_batch failed ({done.returncode}): {done.stderr[-500:]}")
        heard: dict[int, list[str]] = {}
        for line in (folder / "hyp").read_text().splitlines():
            words, number = re.fullmatch(r"(.*?)\s*\((\d+) -?\d+\)", line).groups()
            heard[int(number)] = [re.sub(r"\(\d+\)$", "", w) for w in words.split() if not w.startswith("<")]
        return [heard.get(i, []) for i in range(len(waves))]
