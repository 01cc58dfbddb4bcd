"""What turns a clip into a voice and tokens: voice encoder, CAM++ and the FSQ speech tokenizer.

The stages "speakers" and "tokenizer" train them. Here is what they are for, and the stage "tokens", which writes what
the finished encoders say about every shard.
"""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import audio
from .models.campplus import CamPlus
from .models.s3tokenizer import SpeechTokenizer
from .models.voice_encoder import VoiceEncoder, windows_of
from .presets import SAMPLE_RATE, SAMPLES_PER_TOKEN
from .stage import Run, averaged

XVECTOR_SAMPLES = 6 * 16_000


class Speakers(nn.Module):
    """The two speaker encoders, under the names that they have in the checkpoint."""

    def __init__(self, d):
        super().__init__()
        self.speaker_encoder = CamPlus(d)
        self.ve = VoiceEncoder(d)


class Encoders(Speakers):
    """All three."""

    def __init__(self, d):
        super().__init__(d)
        self.tokenizer = SpeechTokenizer(d)


def assembled(run: Run) -> Encoders | None:
    """The averaged weights of both stages, for use; None while one has no state."""
    speakers = averaged(run, "speakers", Speakers(run.preset.dims))
    tokenizer = averaged(run, "tokenizer", SpeechTokenizer(run.preset.dims))
    if speakers is None or tokenizer is None:
        return None
    encoders = Encoders(run.preset.dims)
    encoders.speaker_encoder, encoders.ve, encoders.tokenizer = speakers.speaker_encoder, speakers.ve, tokenizer
    return encoders.to(run.device).eval()


def is_finished(run: Run, stage: str) -> bool:
    file, plan = run.state_file(stage), getattr(run.preset, stage)
    if not file.exists():
        return False
    state = torch.load(file, map_location="cpu", weights_only=True)
    return state["step"] >= plan.steps or state["seconds"] >= plan.seconds


def trained_encoders(run: Run) -> tuple[Encoders, str] | None:
    """The finished encoders and their fingerprint; None while a plan is not done."""
    if not all(is_finished(run, stage) for stage in ("speakers", "tokenizer")):
        return None
    encoders = assembled(run)
    digest = hashlib.blake2b(digest_size=4)
    for value in encoders.state_dict().values():
        digest.update(value.cpu().numpy().tobytes())
    return encoders, digest.hexdigest()


@torch.inference_mode()
def encode_clip(encoders: Encoders, samples: np.ndarray, device) -> dict[str, Tensor]:
    """What the engine makes of a clip of at most 10 s: tokens [n], speaker [256], xvector [192], mel [2n, 80]."""
    wave = torch.from_numpy(samples.astype(np.float32) / 32768)[None].to(device)
    wave16 = audio.to_16k(wave)
    log_mel = audio.tokenizer_mel(wave16)
    return {
        "tokens": encoders.tokenizer(log_mel, torch.tensor([log_mel.shape[2] // 4], device=device))[0],
        "speaker": encoders.ve.embed(audio.voice_mel(audio.trim_silence(wave16[0])[None])[0]),
        "xvector": encoders.speaker_encoder(audio.fbank(wave16))[0],
        "mel": audio.mel24(wave)[0].T,
    }


@torch.inference_mode()
def encode_utterances(encoders: Encoders, utterances: list[np.ndarray], device) -> list[dict[str, np.ndarray]]:
    """The same without mels, for many whole-token utterances at once: shorter ones are padded (the tokenizer is told
    the lengths), and x-vectors are of 6 s, a shorter utterance being repeated."""
    lengths = [len(u) // SAMPLES_PER_TOKEN for u in utterances]
    waves = torch.zeros(len(utterances), max(lengths) * SAMPLES_PER_TOKEN)
    for row, samples in zip(waves, utterances):
        row[: len(samples)] = torch.from_numpy(samples.astype(np.float32) / 32768)
    waves16 = audio.to_16k(waves.to(device))
    own = [w[: 640 * n] for w, n in zip(waves16, lengths)]
    ids = encoders.tokenizer(audio.tokenizer_mel(waves16), torch.tensor(lengths, device=device))
    tokens = ids.cpu().numpy().astype(np.uint16)
    looped = torch.stack([w.repeat(-(-XVECTOR_SAMPLES // len(w)))[:XVECTOR_SAMPLES] for w in own])
    xvectors = encoders.speaker_encoder(audio.fbank(looped)).float().cpu().numpy()
    windows = [windows_of(audio.voice_mel(w[None])[0]) for w in own]
    parts = encoders.ve(torch.cat(windows)).split([len(w) for w in windows])
    speakers = torch.stack([F.normalize(p.mean(0), dim=0) for p in parts]).cpu().numpy()
    return [{"tokens": t[:n], "speaker": s, "xvector": x} for t, n, s, x in zip(tokens, lengths, speakers, xvectors)]


def encode_shard(encoders: Encoders, shard: Path, target: Path, device, rows: int = 32) -> None:
    samples = np.memmap(shard.with_suffix(".i16"), dtype="<i2", mode="r")
    items = json.loads(shard.read_text())
    by_length = sorted(range(len(items)), key=lambda i: items[i]["samples"])
    said: dict[int, dict] = {}
    for first in range(0, len(items), rows):
        batch = by_length[first : first + rows]
        utterances = [samples[items[i]["first"] : items[i]["first"] + items[i]["samples"]] for i in batch]
        said |= zip(batch, encode_utterances(encoders, utterances, device))
    in_order = [said[i] for i in range(len(items))]
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(
            file,
            tokens=np.concatenate([s["tokens"] for s in in_order]),
            lengths=[len(s["tokens"]) for s in in_order],
            speakers=np.stack([s["speaker"] for s in in_order]),
            xvectors=np.stack([s["xvector"] for s in in_order]),
        )
    part.rename(target)


def encode_shards(run: Run) -> bool:
    """Encodes shards as they appear, until the audio is complete or the call's time is up."""
    while (found := trained_encoders(run)) is None:
        if time.monotonic() > run.deadline:
            return False
        time.sleep(2)
    encoders, fingerprint = found
    seconds = 0.0
    done: set[Path] = set()
    while time.monotonic() < run.deadline:
        for shard in sorted(set(run.shards.glob("shard-*.json")) - done):
            target = shard.with_suffix(f".{fingerprint}.npz")
            if not target.exists():
                encode_shard(encoders, shard, target, run.device)
            done.add(shard)
            seconds += sum(i["samples"] for i in json.loads(shard.read_text())) / SAMPLE_RATE
            if time.monotonic() > run.deadline:
                break
        print(f"tokens: {seconds / 3600:.2f} h encoded", flush=True)
        if seconds >= run.preset.hours * 3600:
            return True
        time.sleep(5)
    return False
