#!/usr/bin/python3
"""Are the words of a text heard in the MP3 that the daemon makes of it? The program itself with a private Redis, the
embedded voice, and pocketsphinx as the listener.

    spoken_words.py AUDIOBOOKD [--model FOLDER]

A sentence counts as read when the listener finds it in a closed list of sentences and, in a second go in which it may
skip words, finds most of its words in their order. What is not the sentence must not count: noise, the same words
shuffled, every second word. Sentences come from the project's own stories, which the voice was not trained on.
"""

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import unittest
from array import array
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tools"))
from embedded_voice.sphinx import (  # noqa: E402
    SAMPLE_RATE,
    choice_grammar,
    pronounceable,
    recognise_clips,
    skip_grammar,
    words_of,
)

STORIES = ("demo/lighthouse.txt", "tests/data/texts/prose_38k.txt")
SENTENCES, DISTRACTORS, CONTROLS, OTHER_VOICE = 24, 72, 12, 8
LEAST_COVERAGE = 0.75  # of a sentence's words, to count as read
LEAST_READ, MOST_CONTROLS_READ = 0.75, 0.1
PATIENCE_S = 600


def sentences_of(text: str) -> list[str]:
    """Of 5 to 12 words, all of which the listener can pronounce, without quotation marks inside."""
    known, found = pronounceable(), []
    for paragraph in text.split("\n\n"):
        for sentence in re.split(r"(?<=[.!?])[”’]?\s+", " ".join(paragraph.split())):
            sentence = sentence.strip("“”’ ").replace("’", "'")
            words = words_of(sentence)
            if re.fullmatch(r"[A-Z][a-z' ,;:-]+[.!?]", sentence) and 5 <= len(words) <= 12 and known.issuperset(words):
                found.append(sentence)
    return found


def choose_sentences() -> list[str]:
    found = sentences_of("\n\n".join((SOURCE / story).read_text() for story in STORIES))
    found = list({" ".join(words_of(s)): s for s in found}.values())
    random.Random(1).shuffle(found)
    if len(found) < SENTENCES + DISTRACTORS:
        raise RuntimeError(f"only {len(found)} sentences fit")
    return found[: SENTENCES + DISTRACTORS]


class Daemon:
    """audiobookd with a redis-server of its own; both end with the block."""

    def __init__(self, program: Path, model: Path | None):
        self.program, self.model = program, model

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = Path(self.temporary.name)
        self.socket = self.folder / "redis.sock"
        self.processes: list[subprocess.Popen] = []
        self.start("redis", ["redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", self.folder])
        self.wait_for("redis-server", lambda: self.redis("PING") == "PONG")
        (self.folder / "audiobookd.toml").write_text(
            f'[redis]\nurl = "unix://{self.socket}"\n[paths]\ninput_root = "."\noutput_root = "."\n'
            'chunk_store = "chunks"\n[queue]\nmax_jobs = 32\n'
            + (f'[engine]\ncheckpoint = "{self.model}"\n' if self.model else "")
        )
        self.start("audiobookd", [self.program, "--config", self.folder / "audiobookd.toml"])
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()
        self.temporary.cleanup()

    def start(self, name: str, command: list) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes.append(subprocess.Popen(list(map(str, command)), stdout=log, stderr=log))

    def redis(self, *arguments: str) -> str:
        done = subprocess.run(["redis-cli", "-s", str(self.socket), *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    def wait_for(self, what: str, happened) -> None:
        end = time.monotonic() + PATIENCE_S
        while not happened():
            dead = [process.args[0] for process in self.processes if process.poll() is not None]
            if dead or time.monotonic() > end:
                log = (self.folder / "audiobookd.log").read_text() if len(self.processes) > 1 else ""
                raise RuntimeError(f"{what}: {dead} ended" if dead else f"{what}: not within {PATIENCE_S} s\n{log}")
            time.sleep(0.2)

    def read_aloud(self, texts: list[tuple[str, str]]) -> list[array]:
        """16 kHz clips of the MP3s of (text, voice), one job each."""
        for i, (text, voice) in enumerate(texts):
            job = {"id": str(i), "text": text, "voice": voice, "output": f"{i}.mp3"}
            self.redis("XADD", "tts:q:normal", "*", "job", json.dumps(job))
        for i in range(len(texts)):
            state = lambda i=i: self.redis("HGET", f"tts:job:{i}", "state")
            self.wait_for(f"job {i}", lambda state=state: state() in ("done", "dead"))
            if state() == "dead":
                raise RuntimeError(f"job {i} is dead: {self.redis('HGET', f'tts:job:{i}', 'error')}")
        return [decode(self.folder / f"{i}.mp3") for i in range(len(texts))]


def decode(file: Path) -> array:
    to_raw = ["ffmpeg", "-v", "error", "-i", file, "-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le", "-"]
    clip = array("h", subprocess.run(to_raw, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout)
    if sys.byteorder == "big":
        clip.byteswap()
    return clip


class SpokenWords(unittest.TestCase):
    program: Path
    model: Path | None = None

    @classmethod
    def setUpClass(cls):
        chosen = choose_sentences()
        cls.sentences, draw = chosen[:SENTENCES], random.Random(2)
        cls.closed = choice_grammar([words_of(s) for s in chosen])
        words = [words_of(s) for s in cls.sentences[:CONTROLS]]
        texts = {
            "default": [(s, "default") for s in cls.sentences],
            "other voice": [(s, "rms") for s in cls.sentences[:OTHER_VOICE]],
            "shuffled": [(" ".join(draw.sample(w, len(w))), "default") for w in words],
            "halved": [(" ".join(w[::2]), "default") for w in words],
        }
        with Daemon(cls.program, cls.model) as daemon:
            clips = iter(daemon.read_aloud([text for group in texts.values() for text in group]))
        cls.clips = {name: [next(clips) for _ in group] for name, group in texts.items()}
        noise = random.Random(3)
        cls.clips["noise"] = [[int(noise.gauss(0, 1600)) for _ in range(len(clip))] for clip in cls.clips["halved"]]

    def share_read(self, name: str) -> float:
        """Of the first sentences, as many as there are clips of this name."""
        clips = self.clips[name]
        words = [words_of(s) for s in self.sentences[: len(clips)]]
        chosen = recognise_clips(clips, [self.closed] * len(clips))
        heard = recognise_clips(clips, [skip_grammar(w) for w in words])
        coverage = [len(h) / len(w) for h, w in zip(heard, words)]
        read = [c == w and part >= LEAST_COVERAGE for c, w, part in zip(chosen, words, coverage)]
        in_list = sum(c == w for c, w in zip(chosen, words))
        print(
            f"{name}: {sum(read)} of {len(clips)} read; {in_list} found in the list of {SENTENCES + DISTRACTORS}, "
            f"{sum(coverage) / len(coverage):.2f} of the words heard",
            flush=True,
        )
        return sum(read) / len(read)

    def test_sentences_are_read(self):
        self.assertGreaterEqual(self.share_read("default"), LEAST_READ)

    def test_the_second_voice_reads_too(self):
        self.assertGreaterEqual(self.share_read("other voice"), LEAST_READ)

    def test_shuffled_words_are_not_the_sentence(self):
        self.assertLessEqual(self.share_read("shuffled"), MOST_CONTROLS_READ)

    def test_every_second_word_is_not_the_sentence(self):
        self.assertLessEqual(self.share_read("halved"), MOST_CONTROLS_READ)

    def test_noise_is_not_the_sentence(self):
        self.assertLessEqual(self.share_read("noise"), MOST_CONTROLS_READ)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", type=Path)
    parser.add_argument("--model", type=Path, help="another checkpoint than the embedded one")
    options = parser.parse_args()
    SpokenWords.program, SpokenWords.model = options.program.resolve(), options.model and options.model.resolve()
    unittest.main(argv=[sys.argv[0]])
