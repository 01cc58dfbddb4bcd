"""Shards of teacher audio, made by all cores, and how the training stages read them.

A shard is `shard-00012.i16` (utterances end to end, 24 kHz int16) and `shard-00012.json` (text, voice, first sample
and samples of each), the json appearing last. Shard n of a seed always holds the same, so a lost one is simply made
again. What the encoders say about a shard lies in `shard-00012.<fingerprint of the encoders>.npz`.
"""

import json
import multiprocessing
import os
import subprocess
import time
from pathlib import Path

import numpy as np

from .presets import SAMPLE_RATE, Preset
from .teachers import TRAINED, Programs, TeacherError, read_aloud
from .texts import Corpus, Writer

MOST_FAILURES = 3  # of teachers in one shard: a text may break a program, but not many do

_writer: Writer
_programs: Programs


def start_worker(corpus_file: Path) -> None:
    global _writer, _programs
    import torch

    torch.set_num_threads(1)
    os.nice(10)  # the stages that train meanwhile wait for the cores more than these do
    _writer = Writer(Corpus(corpus_file), 0)
    _programs = Programs()


def make_shard(folder: Path, seed: int, number: int, utterances: int) -> float:
    """Writes a shard; seconds of audio in it."""
    _writer.reseed(seed * 1_000_003 + number)
    audio, items, samples, failures = [], [], 0, 0
    while len(items) < utterances:
        voice = _writer.random.choices(TRAINED, weights=[v.weight for v in TRAINED])[0]
        text = _writer.utterance()
        try:
            spoken = read_aloud(_programs, voice, text, seed=number * 10_000 + len(items))
        except (TeacherError, subprocess.TimeoutExpired) as error:
            failures += 1
            if failures > MOST_FAILURES:
                raise
            print(f"data: left out: {error}", flush=True)
            continue
        if spoken is None:
            continue
        audio.append(spoken)
        items.append({"text": text, "voice": voice.name, "first": samples, "samples": len(spoken)})
        samples += len(spoken)
    stem = folder / f"shard-{number:05d}"
    np.concatenate(audio).tofile(f"{stem}.i16")
    part = Path(f"{stem}.part")
    part.write_text(json.dumps(items))
    part.rename(f"{stem}.json")
    return samples / SAMPLE_RATE


def make_shards(folder: Path, corpus_file: Path, preset: Preset, seed: int, deadline: float) -> None:
    """Makes shards until there are `preset.hours` of audio or the @p deadline (time.monotonic()) comes."""
    folder.mkdir(parents=True, exist_ok=True)
    seconds = (
        sum(sum(i["samples"] for i in json.loads(f.read_text())) for f in folder.glob("shard-*.json")) / SAMPLE_RATE
    )
    have = {int(f.stem.split("-")[1]) for f in folder.glob("shard-*.json")}
    missing = (n for n in range(1_000_000) if n not in have)
    cores = max(1, len(os.sched_getaffinity(0)) - 3)
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(cores, start_worker, (corpus_file,)) as pool:
        running = []
        while seconds < preset.hours * 3600 and time.monotonic() < deadline:
            while len(running) < cores:
                job = (folder, seed, next(missing), preset.utterances_per_shard)
                running.append(pool.apply_async(make_shard, job))
            running[0].wait(0.2)
            for result in [r for r in running if r.ready()]:
                seconds += result.get()
                running.remove(result)
                print(f"data: {seconds / 3600:.2f} h after {time.monotonic() - began:.0f} s", flush=True)
        pool.terminate()


class Shards:
    """The shards that are there; `refresh` looks for new ones. One per process."""

    def __init__(self, folder: Path, fingerprint: str | None = None):
        self.folder, self.fingerprint = folder, fingerprint
        self.utterances: list[dict] = []  # the items of all shards, each with its audio and what the encoders said
        self.by_voice: dict[str, list[dict]] = {}
        self._known: set[str] = set()
        self._looked = float("-inf")
        self.refresh()

    def refresh(self) -> None:
        """Looks at most every 10 s."""
        if time.monotonic() - self._looked < 10:
            return
        self._looked = time.monotonic()
        for file in sorted(self.folder.glob("shard-*.json")):
            if file.name in self._known:
                continue
            said = file.with_suffix(f".{self.fingerprint}.npz") if self.fingerprint else None
            if said is None or said.exists():
                self._known.add(file.name)
                self._add(file, said)

    def _add(self, file: Path, said: Path | None) -> None:
        audio = np.memmap(file.with_suffix(".i16"), dtype="<i2", mode="r")
        items = json.loads(file.read_text())
        for item in items:
            item["audio"] = audio[item["first"] : item["first"] + item["samples"]]
            self.by_voice.setdefault(item["voice"], []).append(item)
        self.utterances += items
        if said is None:
            return
        with np.load(said) as arrays:
            tokens = np.split(arrays["tokens"], np.cumsum(arrays["lengths"])[:-1])
            for item, *values in zip(items, tokens, arrays["speakers"], arrays["xvectors"]):
                item |= zip(("tokens", "speaker", "xvector"), values)

    def wait_for(self, count: int, deadline: float) -> bool:
        """Whether @p count utterances are there before the deadline."""
        while len(self.utterances) < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(1)
            self._looked = float("-inf")
            self.refresh()
        return True


def margin_slice(audio: np.ndarray, first: int, last: int) -> np.ndarray:
    """Samples [first, last) with zeros for what lies outside."""
    inner = audio[max(first, 0) : min(last, len(audio))]
    return np.pad(inner, (max(-first, 0), last - max(first, 0) - len(inner)))
