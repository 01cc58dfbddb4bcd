"""All stages in a row on a handful of made-up utterances: files fit together, and a finished run exports and loads."""

import json
import math
import random
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from embedded_voice import data
from embedded_voice.checkpoint import Checkpoint
from embedded_voice.data import Shards
from embedded_voice.encoders import encode_clip, encode_shards, trained_encoders
from embedded_voice.export import export
from embedded_voice.flow import FlowTrainer
from embedded_voice.hift import HiftTrainer
from embedded_voice.presets import PRESETS, SAMPLE_RATE, SAMPLES_PER_TOKEN, Plan
from embedded_voice.speakers import SpeakersTrainer
from embedded_voice.stage import Run
from embedded_voice.t3 import T3Trainer
from embedded_voice.teachers import TeacherError
from embedded_voice.tokenizer import TokenizerTrainer

TRAINERS = (SpeakersTrainer, TokenizerTrainer, HiftTrainer, T3Trainer, FlowTrainer)
PLAN = Plan(math.inf, 2, 2, 1e-3)
PRESET = replace(
    PRESETS["toy"], hours=0.0, speakers=PLAN, tokenizer=PLAN, flow=PLAN, hift=PLAN, t3=replace(PLAN, rows=512), gan_from=0.5
)


def write_shard(folder, number: int, lengths: list[int], voices: list[str]) -> None:
    draw = np.random.default_rng(number)
    items, audio, first = [], [], 0
    for tokens, voice in zip(lengths, voices):
        time_s = np.arange(tokens * SAMPLES_PER_TOKEN) / SAMPLE_RATE
        wave = 3000 * np.sin(2 * np.pi * (120 + 90 * (voice == "slt")) * time_s) + draw.normal(0, 300, len(time_s))
        audio.append(wave.astype("<i2"))
        items.append({"text": "It is late.", "voice": voice, "first": first, "samples": len(wave)})
        first += len(wave)
    np.concatenate(audio).tofile(folder / f"shard-{number:05d}.i16")
    (folder / f"shard-{number:05d}.json").write_text(json.dumps(items))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("work"), PRESET, 1, time.monotonic() + 300, torch.device("cpu"))
    run.shards.mkdir()
    write_shard(run.shards, 0, [30, 96, 45], ["slt", "rms", "slt"])
    write_shard(run.shards, 1, [61, 88], ["rms", "slt"])
    assert trained_encoders(run) is None
    assert SpeakersTrainer(run).train()
    assert trained_encoders(run) is None, "one of the two"
    assert TokenizerTrainer(run).train()
    assert encode_shards(run)
    for trainer in TRAINERS[2:]:
        assert trainer(run).train(), trainer.name
    return run


def test_every_stage_left_a_state_and_a_curve(trained):
    for trainer in TRAINERS:
        assert torch.load(trained.state_file(trainer.name), weights_only=True)["step"] == 2
        rows = trained.state_file(trainer.name).with_suffix(".csv").read_text().splitlines()
        assert len(rows) == 2 and all(math.isfinite(float(v)) for v in rows[1].split(","))
    before = torch.load(trained.state_file("hift-before-gan"), weights_only=True)
    assert before["step"] == 1, "kept before the discriminators had a say"


def test_an_utterance_has_a_token_for_every_forty_milliseconds(trained):
    _, fingerprint = trained_encoders(trained)
    utterances = Shards(trained.shards, fingerprint).utterances
    assert len(utterances) == 5
    for utterance in utterances:
        assert len(utterance["tokens"]) * SAMPLES_PER_TOKEN == len(utterance["audio"])
        assert utterance["speaker"].shape == (256,) and utterance["xvector"].shape == (192,)
        assert abs(np.linalg.norm(utterance["speaker"]) - 1) < 1e-4


def test_encoding_together_says_what_encoding_alone_says(trained):
    encoders, fingerprint = trained_encoders(trained)
    same = total = 0
    for utterance in Shards(trained.shards, fingerprint).utterances:
        alone = encode_clip(encoders, utterance["audio"], "cpu")["tokens"].numpy()
        same += (alone[:-2] == utterance["tokens"][:-2]).sum()  # the last ones see the padding
        total += len(alone) - 2
    assert same / total > 0.97


def test_other_encoders_are_not_mistaken_for_the_ones_that_encoded(trained):
    assert not Shards(trained.shards, "00000000").utterances


@pytest.mark.skipif(not all(map(shutil.which, ("flite", "espeak-ng"))), reason="Debian's flite and espeak-ng")
def test_a_finished_run_exports_two_voices(trained, tmp_path):
    export(trained, tmp_path / "checkpoint")
    checkpoint = Checkpoint(tmp_path / "checkpoint")
    for file in ("conds.pt", "voices/rms.pt"):
        voice = checkpoint.voice(file)
        assert len(voice["prompt_mel"]) == 2 * len(voice["prompt"])
        assert 60 <= len(voice["t3_prompt"]) <= 90
        tokens = checkpoint.tokens("It is late.", voice, seed=1, max_tokens=5)
        assert checkpoint.wave([*tokens, 5], voice).isfinite().all()


def test_an_unfinished_run_exports_nothing(tmp_path):
    run = Run(tmp_path, PRESET, 1, time.monotonic() + 60, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="t3.pt: not there"):
        export(run, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_a_text_that_breaks_a_teacher_is_left_out_and_many_end_the_shard(tmp_path, monkeypatch):
    class Texts:
        random = random.Random(1)

        def reseed(self, seed):
            self.read = 0

        def utterance(self):
            self.read += 1
            return f"Text {self.read}."

    def teacher(broken):
        def read(programs, voice, text, seed):
            if int(text.split()[1].rstrip(".")) in broken:
                raise TeacherError(text)
            return np.full(SAMPLES_PER_TOKEN, seed % 100, dtype=np.int16)

        return read

    monkeypatch.setattr(data, "_writer", Texts(), raising=False)
    monkeypatch.setattr(data, "_programs", None, raising=False)
    monkeypatch.setattr(data, "read_aloud", teacher({2, 3}))
    seconds = data.make_shard(tmp_path, 1, 0, 3)
    assert seconds == pytest.approx(3 * 0.04)
    assert [u["text"] for u in Shards(tmp_path).utterances] == ["Text 1.", "Text 4.", "Text 5."]
    monkeypatch.setattr(data, "read_aloud", teacher({1, 2, 3, 4}))
    with pytest.raises(TeacherError):
        data.make_shard(tmp_path, 1, 1, 3)
    assert not (tmp_path / "shard-00001.json").exists()
