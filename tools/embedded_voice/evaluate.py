"""How well a checkpoint reads: words by a recogniser with controls that must fail, distance to the teacher, lengths,
clones. Sentences are held out from training."""

import json
import random
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from . import audio
from .checkpoint import Checkpoint
from .encoders import encode_clip
from .presets import SAMPLES_PER_TOKEN
from .recogniser import coverage, recognise
from .sphinx import choice_grammar, pronounceable, words_of
from .teachers import HELD_OUT, Programs, read_aloud, voice_named
from .text_norm import punc_norm
from .texts import Corpus, clean
from .wav import read_wav, write_wav

NEAR_MISSES = 10
TEACHER = "slt"  # of conds.pt


class Readers:
    """Ways to get a text read, 24 kHz floats: teacher; vocoder and tokens, which start from the teacher's audio;
    student."""

    def __init__(self, checkpoint: Checkpoint, engine: Path | None):
        self.checkpoint, self.engine, self.programs = checkpoint, engine, Programs()
        self.voice = checkpoint.voice()

    def teacher(self, text: str, voice: str = TEACHER) -> np.ndarray:
        spoken = read_aloud(self.programs, voice_named(voice), punc_norm(text), seed=0)
        if spoken is None:
            raise ValueError(f"longer than the token cap: {text}")
        return spoken.astype(np.float32) / 32768

    @torch.inference_mode()
    def vocoder(self, text: str) -> np.ndarray:
        mel = audio.mel24(torch.from_numpy(self.teacher(text))[None])[0]
        return self.checkpoint.hift.synthesise(mel, torch.Generator().manual_seed(0)).numpy()

    def tokens(self, text: str) -> np.ndarray:
        samples = (self.teacher(text) * 32767).astype(np.int16)
        said = encode_clip(self.checkpoint.encoders, samples, "cpu")["tokens"].tolist()
        return self.checkpoint.wave(said, self.voice).numpy()

    def student(self, text: str) -> np.ndarray:
        if self.engine:
            return self.by_engine(text)
        said = self.checkpoint.tokens(text, self.voice)
        return self.checkpoint.wave(said, self.voice).numpy() if said else np.zeros(SAMPLES_PER_TOKEN, np.float32)

    def by_engine(self, text: str) -> np.ndarray:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "text.txt").write_text(text + "\n")
            subprocess.run(
                [
                    self.engine,
                    "render",
                    folder / "text.txt",
                    "-o",
                    folder / "a.mp3",
                    "--model",
                    self.checkpoint.folder,
                    "--cache",
                    folder / "cache",
                ],
                check=True,
                capture_output=True,
            )
            subprocess.run(
                ["ffmpeg", "-v", "error", "-i", folder / "a.mp3", "-ac", "1", "-ar", "24000", folder / "a.wav"],
                check=True,
            )
            return read_wav(folder / "a.wav")


def warped_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute log-mel difference along the best warping path; mels [80, frames], every second frame taken."""
    a, b = a[:, ::2].T, b[:, ::2].T
    local = np.abs(a[:, None] - b[None]).mean(2)
    cost = np.full((len(a) + 1, len(b) + 1), np.inf)
    cost[0, 0] = 0.0
    steps = np.zeros_like(cost)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            before = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda p: cost[p])
            cost[i, j] = cost[before] + local[i - 1, j - 1]
            steps[i, j] = steps[before] + 1
    return float(cost[-1, -1] / steps[-1, -1])


def mel_of(wave: np.ndarray) -> np.ndarray:
    return audio.mel24(torch.from_numpy(np.ascontiguousarray(wave))[None])[0].numpy()


def pitch_and_envelope(wave: np.ndarray) -> tuple[float, np.ndarray]:
    """Median F0 in Hz and the mean log mel of voiced frames: a measure of a voice that knows none of the encoders."""
    padded = torch.nn.functional.pad(torch.from_numpy(np.ascontiguousarray(wave))[None], (audio.MEL_MARGIN,) * 2)
    f0, mel = audio.f0_of_padded(padded)[0], audio.mel_of_padded(padded)[0]
    voiced = f0 > 0
    if not voiced.any():
        return 0.0, np.zeros(80)
    envelope = mel[:, voiced].mean(1)
    return float(f0[voiced].median()), (envelope - envelope.mean()).numpy()


def voice_distance(a, b) -> float:
    """Octaves of pitch plus nats of envelope."""
    return abs(np.log2(max(a[0], 1.0) / max(b[0], 1.0))) + float(np.abs(a[1] - b[1]).mean())


def near_misses(words: list[str], vocabulary: list[str], draw: random.Random) -> list[list[str]]:
    """The sentence with one word replaced."""
    out = []
    for _ in range(NEAR_MISSES):
        place, other = draw.randrange(len(words)), draw.choice(vocabulary)
        out.append([*words[:place], other, *words[place + 1 :]])
    return out


class WordTests:
    """Closed list, near misses and coverage for one set of sentences."""

    def __init__(self, sentences: list[str], distractors: list[str], vocabulary: list[str]):
        self.words = [words_of(s) for s in sentences]
        self.closed = choice_grammar(self.words + [words_of(s) for s in distractors])
        draw = random.Random(3)
        self.near = [choice_grammar([w, *near_misses(w, vocabulary, draw)]) for w in self.words]

    def judge(self, waves: list[np.ndarray]) -> dict[str, float]:
        share = lambda grammars: float(np.mean([h == w for h, w in zip(recognise(waves, grammars), self.words)]))
        return {
            "closed_list": share([self.closed] * len(waves)),
            "near_misses": share(self.near),
            "coverage": float(np.mean(coverage(waves, self.words))),
        }


def controls(readers: Readers, sentences: list[str]) -> dict[str, list[np.ndarray]]:
    """Audio that must not pass as the sentences."""
    draw = random.Random(5)
    noise = np.random.default_rng(5)
    shuffled, halved = [], []
    for sentence in sentences:
        words = words_of(sentence)
        shuffled.append(readers.teacher(" ".join(draw.sample(words, len(words)))))
        halved.append(readers.teacher(" ".join(words[::2])))
    return {"noise": [noise.normal(0, 0.05, 72_000).astype(np.float32) for _ in sentences],
            "shuffled words": shuffled, "every second word": halved}  # fmt: skip


def choose_sentences(corpus: Corpus, count: int) -> tuple[list[str], list[str]]:
    """Held-out sentences of 5 to 14 words that the recogniser knows, and its vocabulary among the corpus's words."""
    known = pronounceable()
    fit = [s for s in corpus.held_out if 5 <= len(words_of(s)) <= 14 and known.issuperset(words_of(s))]
    fit = list({" ".join(words_of(s)): s[0].upper() + s[1:] for s in fit}.values())
    random.Random(1).shuffle(fit)
    if len(fit) < count:
        raise ValueError(f"only {len(fit)} held-out sentences fit, {count} were asked for")
    return fit[:count], sorted(known.intersection(corpus.words))


def longer_texts(corpus: Corpus, count: int) -> list[str]:
    """Two to four held-out sentences each, up to about 200 characters."""
    draw, texts = random.Random(2), []
    while len(texts) < count:
        text = " ".join(s[0].upper() + s[1:] for s in draw.sample(corpus.held_out, draw.randint(2, 4)))
        if 90 <= len(text) <= 200:
            texts.append(text)
    return texts


def passages(file: Path, words: int) -> list[str]:
    """The first @p words of a text as the daemon would cut it, roughly: whole sentences of a paragraph up to 200
    characters. Sentences with digits or other marks that the model does not know are left out."""
    out: list[str] = []
    for paragraph in file.read_text().split("\n\n"):
        packed = ""
        for sentence in re.split(r"(?<=[.!?])[\"”’]? +", " ".join(paragraph.split())):
            readable = clean(sentence.replace("“", "").replace("”", ""))
            if readable is None:
                continue
            if packed and len(packed) + len(readable) > 200:
                out.append(packed)
                packed = ""
            packed = f"{packed} {readable}".strip()
        if packed:
            out.append(packed)
        if sum(len(p.split()) for p in out) >= words:
            break
    return out


def long_text(readers: Readers, file: Path, words: int = 2000) -> dict[str, float]:
    """Is a passage dropped or repeated? Words heard in order, and length against the teacher's, passage by passage."""
    known = pronounceable()
    texts = [p for p in passages(file, words) if len(known.intersection(words_of(p))) >= 3]
    spoken = {name: [getattr(readers, name)(t) for t in texts] for name in ("teacher", "student")}
    expected = [[w for w in words_of(t) if w in known] for t in texts]
    ratios = [len(a) / len(b) for a, b in zip(spoken["student"], spoken["teacher"])]
    heard = {name: coverage(waves, expected) for name, waves in spoken.items()}
    return {
        "words": sum(map(len, expected)),
        "passages": len(texts),
        "coverage_teacher": float(np.mean(heard["teacher"])),
        "coverage_student": float(np.mean(heard["student"])),
        "passages_half_missing": sum(c < 0.5 for c in heard["student"]),
        "passages_half_missing_teacher": sum(c < 0.5 for c in heard["teacher"]),
        "least_length_ratio": min(ratios),
        "most_length_ratio": max(ratios),
    }


def length_ratios(readers: Readers, texts: list[str]) -> dict[str, float]:
    ratios = [len(readers.student(t)) / len(readers.teacher(t)) for t in texts]
    return {"mean": float(np.mean(ratios)), "least": min(ratios), "most": max(ratios)}


def clones(readers: Readers, sentence: str) -> dict:
    """Every held-out voice is cloned from a clip of another sentence; whose real voice is the clone nearest to?"""
    clip_text = "The old road went down to the water between two rows of trees."
    real, cloned = {}, {}
    for voice in HELD_OUT:
        clip = readers.teacher(clip_text, voice.name)
        said = encode_clip(readers.checkpoint.encoders, (clip * 32767).astype(np.int16), "cpu")
        conds = {
            "speaker": said["speaker"],
            "t3_prompt": said["tokens"][:150],
            "emotion": 0.5,
            "prompt": said["tokens"],
            "prompt_mel": said["mel"],
            "xvector": said["xvector"],
        }
        tokens = readers.checkpoint.tokens(sentence, conds)
        real[voice.name] = pitch_and_envelope(clip)
        cloned[voice.name] = pitch_and_envelope(readers.checkpoint.wave(tokens or [0], conds).numpy())
    nearest = {
        name: min(real, key=lambda other: voice_distance(measure, real[other])) for name, measure in cloned.items()
    }
    return {
        "nearest": nearest, "right": sum(a == b for a, b in nearest.items()), "of": len(nearest),
        "median_f0_hz": {name: [round(real[name][0], 1), round(cloned[name][0], 1)] for name in real},
    }  # fmt: skip


def evaluate(options) -> None:
    torch.set_num_threads(1)
    corpus = Corpus(options.bundle / "corpus.txt.gz")
    chosen, vocabulary = choose_sentences(corpus, options.sentences + options.distractors)
    sentences, distractors = chosen[: options.sentences], chosen[options.sentences :]
    readers = Readers(Checkpoint(options.checkpoint), options.engine)
    tests = WordTests(sentences, distractors, vocabulary)
    kept = options.to.parent / "audio"
    kept.mkdir(parents=True, exist_ok=True)

    figures: dict = {"sentences": len(sentences), "distractors": len(distractors), "words": {}}
    waves = {}
    for name in ("teacher", "vocoder", "tokens", "student"):
        waves[name] = [getattr(readers, name)(s) for s in sentences]
        for i, wave in enumerate(waves[name][:10]):
            write_wav(kept / f"{name}-{i}.wav", wave)
        figures["words"][name] = tests.judge(waves[name])
        print(f"{name:>18}: {figures['words'][name]}", flush=True)
    for name, control in controls(readers, sentences).items():
        figures["words"][name] = tests.judge(control)
        print(f"{name:>18}: {figures['words'][name]}", flush=True)

    mels = {name: [mel_of(w) for w in waves[name]] for name in ("teacher", "student")}
    pairs = list(zip(mels["student"], mels["teacher"]))
    figures["warped_mel_distance"] = {
        "own": float(np.mean([warped_distance(a, b) for a, b in pairs])),
        "other": float(np.mean([warped_distance(a, b) for a, b in zip(mels["student"], mels["teacher"][1:])])),
    }
    figures["length_ratio"] = length_ratios(readers, longer_texts(corpus, 20))
    if options.long_text:
        figures["long_text"] = long_text(readers, options.long_text)
    figures["clones"] = clones(readers, sentences[0])
    options.to.write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps({k: v for k, v in figures.items() if k != "words"}, indent=1))
