"""Stage "encoders": what turns a clip into a voice and tokens. Voice encoder, CAM++ and the FSQ speech tokenizer.

The two speaker encoders learn to tell the training voices apart. The tokenizer learns to let a small decoder, which is
told the voice, restore the mel from its eight ternary digits: what the decoder knows already need not be in the tokens.
Also here: the "tokens" stage, which writes what the finished encoders say about every shard.
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
from .data import Shards, margin_slice
from .models.campplus import CamPlus
from .models.s3tokenizer import DIGITS, SpeechTokenizer, token_ids
from .models.voice_encoder import VoiceEncoder, windows_of
from .presets import SAMPLE_RATE, SAMPLES_PER_TOKEN
from .stage import Batches, Run, Trainer, averaged
from .teachers import VOICE_NUMBER, VOICES

CROP_TOKENS = 80  # 3.2 s: two windows of the voice encoder
XVECTOR_SAMPLES = 6 * 16_000


class Encoders(nn.Module):
    """The three as one module, under the names that they have in the checkpoint."""

    def __init__(self, d):
        super().__init__()
        self.tokenizer = SpeechTokenizer(d)
        self.speaker_encoder = CamPlus(d)
        self.ve = VoiceEncoder(d)


class Prototypes(nn.Module):
    """A direction for each voice; logits are scaled cosines."""

    def __init__(self, size: int, scale: float):
        super().__init__()
        self.directions = nn.Parameter(torch.randn(len(VOICES), size))
        self.scale = scale

    def forward(self, vectors: Tensor) -> Tensor:
        return self.scale * F.normalize(vectors, dim=1) @ F.normalize(self.directions, dim=1).T


class MelDecoder(nn.Module):
    """Digits and voice to mel, for training only: [rows, tokens, 8] -> [rows, 80, 2 tokens]."""

    def __init__(self, size: int = 256, layers: int = 4):
        super().__init__()
        self.voice = nn.Embedding(len(VOICES), size)
        self.digits = nn.Linear(DIGITS, size)
        self.layers = nn.ModuleList(nn.Conv1d(size, size, 5, padding=2) for _ in range(layers))
        self.out = nn.Linear(size, 160)
        nn.init.constant_(self.out.bias, -6.0)  # about the mean of log mels

    def forward(self, digits: Tensor, voice: Tensor) -> Tensor:
        x = (self.digits(digits) + self.voice(voice)[:, None]).transpose(1, 2)
        for layer in self.layers:
            x = x + layer(F.gelu(x))
        return self.out(x.transpose(1, 2)).unflatten(2, (2, 80)).flatten(1, 2).transpose(1, 2)


def rounded_straight_through(digits: Tensor, noise: float) -> Tensor:
    """-1, 0, 1 forwards, the identity backwards; noise before rounding makes values keep away from the borders."""
    noisy = digits + noise * (torch.rand_like(digits) * 2 - 1)
    return digits + (noisy.clamp(-1, 1).round() - digits).detach()


class EncoderTrainer(Trainer):
    name = "encoders"

    def __init__(self, run: Run):
        self.plan = run.preset.encoders
        super().__init__(run, {
            "model": Encoders(run.preset.dims), "decoder": MelDecoder(),
            "ve_voices": Prototypes(256, 10.0), "xvector_voices": Prototypes(192, 20.0),
        })  # fmt: skip

    def dataset(self):
        folder, rows = self.run.shards, self.plan.rows

        def make(generator):
            shards = Shards(folder)
            pick = lambda n: int(torch.randint(n, (), generator=generator))
            while True:
                shards.refresh()
                waves, voices = [], []
                voice_names = list(shards.by_voice)
                for row in range(rows):  # half the rows by voice, so that rare voices count too
                    pool = shards.utterances if row % 2 else shards.by_voice[voice_names[pick(len(voice_names))]]
                    item = pool[pick(len(pool))]
                    first = pick(max(1, len(item["audio"]) // SAMPLES_PER_TOKEN - CROP_TOKENS)) * SAMPLES_PER_TOKEN
                    last = first + CROP_TOKENS * SAMPLES_PER_TOKEN
                    waves.append(margin_slice(item["audio"], first - audio.MEL_MARGIN, last + audio.MEL_MARGIN))
                    voices.append(VOICE_NUMBER[item["voice"]])
                yield {"wave": torch.from_numpy(np.stack(waves)), "voice": torch.tensor(voices)}

        return Batches(self.run.seed * 100 + self.step, make)

    def losses(self, batch):
        model, voice = self.modules["model"], batch["voice"]
        wave = batch["wave"].float() / 32768
        wave = wave + torch.randn_like(wave) * 1e-4  # beyond the end of a short utterance, too
        mel = audio.mel_of_padded(wave)
        gain = 10 ** (0.3 * (torch.rand(len(wave), 1, device=wave.device) * 2 - 1))
        wave16 = audio.to_16k(wave[:, audio.MEL_MARGIN : -audio.MEL_MARGIN] * gain)

        lengths = torch.full_like(voice, CROP_TOKENS)
        digits = model.tokenizer.digits(audio.tokenizer_mel(wave16), lengths)
        restored = self.modules["decoder"](rounded_straight_through(digits, 0.25), voice)
        mel_loss = F.l1_loss(restored, mel)

        windows = audio.voice_mel(wave16).unfold(1, 160, 160).transpose(2, 3).flatten(0, 1)
        ve_loss = F.cross_entropy(self.modules["ve_voices"](model.ve(windows)), voice.repeat_interleave(2))
        xvector_logits = self.modules["xvector_voices"](model.speaker_encoder(audio.fbank(wave16)))
        return {
            "loss": mel_loss + 0.1 * ve_loss + 0.1 * F.cross_entropy(xvector_logits, voice),
            "mel_l1": mel_loss,
            "mel_rmse": (restored - mel).square().mean().sqrt(),
            "ve": ve_loss,
            "xvector_error": (xvector_logits.argmax(1) != voice).float().mean(),
            "codes_used": torch.tensor(len(token_ids(digits).unique()), device=wave.device).float(),
        }


def trained_encoders(run: Run) -> tuple[Encoders, str] | None:
    """The finished encoders and their fingerprint; None while their plan is not done."""
    file = run.state_file("encoders")
    if not file.exists():
        return None
    state = torch.load(file, map_location="cpu", weights_only=True)
    plan = run.preset.encoders
    if state["step"] < plan.steps and state["seconds"] < plan.seconds:
        return None
    encoders = averaged(run, "encoders", Encoders(run.preset.dims))
    digest = hashlib.blake2b(digest_size=4)
    for value in state["average"].values():
        digest.update(value.numpy().tobytes())
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
