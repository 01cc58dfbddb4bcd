"""A checkpoint folder: config.json, t3_cfg, s3gen and ve.safetensors, tokenizer.json, conds.pt. Writing and reading."""

import json
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .encoders import Encoders
from .models.flow import Flow
from .models.hift import HiFT
from .models.t3 import T3
from .presets import Dims
from .text_norm import punc_norm, text_ids, tokenizer_json


def stored(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in fp16, vectors in fp32, counters as they are. Throws when a value is not finite or fits no fp16."""
    out = {}
    for key, value in values.items():
        value = value.detach().cpu().contiguous()
        if value.is_floating_point():
            value = value.half() if value.dim() > 1 else value.float()
            if not torch.isfinite(value).all():
                raise ValueError(f"{key}: a value is not finite or too large for fp16")
        out[key] = value
    return out


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in module.state_dict().items()}


def tensors(t3: T3, flow: Flow, hift: HiFT, encoders: Encoders) -> dict[str, dict[str, Tensor]]:
    """The tensors of each file under the reference's keys."""
    s3gen = {
        **prefixed("tokenizer.", encoders.tokenizer),
        **prefixed("speaker_encoder.", encoders.speaker_encoder),
        **prefixed("flow.", flow),
        **prefixed("mel2wav.", hift),
    }
    return {"t3_cfg.safetensors": stored(t3.state_dict()), "s3gen.safetensors": stored(s3gen),
            "ve.safetensors": stored(encoders.ve.state_dict())}  # fmt: skip


def write(folder: Path, dims: Dims, files: dict[str, dict[str, Tensor]], cloning: bool = True) -> None:
    """All but the voices. @p cloning: whether a clip becomes a voice that resembles it, which the engine believes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dims.config() | {"cloning": cloning}, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(tokenizer_json())
    for name, values in files.items():
        save_file(values, folder / name, metadata={"format": "pt"})
        (folder / name).chmod(0o644)  # save_file leaves it to the owner alone


def write_voice(file: Path, clip: dict[str, Tensor]) -> None:
    """A conds.pt from what encode_clip() says of a clip."""
    clip = {key: value.cpu() for key, value in clip.items()}
    tokens = clip["tokens"][None]
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({
        "t3": {
            "speaker_emb": clip["speaker"][None], "clap_emb": None, "cond_prompt_speech_tokens": tokens[:, :150],
            "cond_prompt_speech_emb": None, "emotion_adv": torch.full((1, 1, 1), 0.5),
        },
        "gen": {
            "prompt_token": tokens, "prompt_token_len": torch.tensor([tokens.shape[1]]),
            "prompt_feat": clip["mel"][None].contiguous(), "prompt_feat_len": None, "embedding": clip["xvector"][None],
        },
    }, file)  # fmt: skip


class Checkpoint:
    """A checkpoint to speak with in torch, on one device. Loading is strict: keys and shapes must be the ones."""

    def __init__(self, folder: Path, device="cpu"):
        config = json.loads((folder / "config.json").read_text())
        dims = Dims(**{f.name: config[f.name] for f in fields(Dims)})
        self.device = torch.device(device)
        self.folder = folder
        s3gen = load_file(folder / "s3gen.safetensors")
        part = lambda prefix: {k.removeprefix(prefix): v for k, v in s3gen.items() if k.startswith(prefix)}
        self.encoders = Encoders(dims)
        self.t3 = self._ready(T3(dims), load_file(folder / "t3_cfg.safetensors"))
        self.flow = self._ready(Flow(dims), part("flow."))
        self.hift = self._ready(HiFT(dims), part("mel2wav."))
        self._ready(self.encoders.tokenizer, part("tokenizer."))
        self._ready(self.encoders.speaker_encoder, part("speaker_encoder."))
        self._ready(self.encoders.ve, load_file(folder / "ve.safetensors"))
        self.encoders.eval()

    def _ready(self, module: nn.Module, values: dict[str, Tensor]) -> nn.Module:
        module.load_state_dict(values)
        return module.to(self.device).eval()

    def voice(self, file: str = "conds.pt") -> dict:
        conds = torch.load(self.folder / file, weights_only=True, map_location=self.device)
        return {
            "speaker": conds["t3"]["speaker_emb"][0], "t3_prompt": conds["t3"]["cond_prompt_speech_tokens"][0],
            "emotion": float(conds["t3"]["emotion_adv"]), "prompt": conds["gen"]["prompt_token"][0],
            "prompt_mel": conds["gen"]["prompt_feat"][0], "xvector": conds["gen"]["embedding"][0],
        }  # fmt: skip

    def tokens(self, text: str, voice: dict, seed: int | None = 0, max_tokens: int = 390, **sampling) -> list[int]:
        """Speech tokens of a text; greedy when @p seed is None."""
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return self.t3.generate(
            text_ids(punc_norm(text)),
            voice["speaker"],
            voice["t3_prompt"],
            voice["emotion"],
            max_tokens,
            generator=generator,
            **sampling,
        )

    @torch.inference_mode()
    def wave(self, tokens: list[int], voice: dict, seed: int = 0) -> Tensor:
        """24 kHz samples [960 n]; codes only."""
        tokens = torch.tensor([t for t in tokens if t < 6561], device=self.device)
        generator = torch.Generator(self.device).manual_seed(seed)
        frames = 2 * (len(voice["prompt"]) + len(tokens))
        noise = torch.randn(80, frames, device=self.device, generator=generator)
        mel = self.flow.synthesise(tokens, voice["prompt"], voice["prompt_mel"], voice["xvector"], noise)
        return self.hift.synthesise(mel, generator).cpu()
