"""Greedy tokens of a checkpoint as a golden file, and whether the reference says the same.

Keys and layout are those of the t3_decode recordings: u<n>.text_ids, u<n>.params (cfg weight, penalty, temperature,
min-p, top-p, emotion), u<n>.tokens (with the stop token if it came), u<n>.min_margin; u<n>.text is in the metadata.
"""

import importlib
import json
import sys
import types
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from .checkpoint import Checkpoint
from .text_norm import punc_norm, text_ids

TEXTS = (
    "The lamp at the end of the pier had burned for more than a hundred years.",
    '"Are you sure," she asked, "that nobody saw you?"',
    "Twenty-one ships left the harbour. Only nineteen came back, and no one spoke of the others.",
)
MAX_TOKENS = 390
LEAST_MARGIN = 5e-4  # well above what the order of sums changes in fp32
PARAMETERS = dict(cfg_weight=0.5, repetition_penalty=1.2, temperature=0.8, min_p=0.05)


def smallest_margin(trace: list[Tensor]) -> float:
    """Between the likeliest and the second token over all steps: greedy ids are only comparable above the noise."""
    return min(float(best - second) for best, second in (logits.topk(2).values for logits in trace))


def greedy(checkpoint: Checkpoint, ids: Tensor, voice: dict) -> tuple[list[int], float]:
    trace: list[Tensor] = []
    tokens = checkpoint.t3.generate(
        ids, voice["speaker"], voice["t3_prompt"], voice["emotion"], MAX_TOKENS, trace=trace, **PARAMETERS
    )
    stopped = len(trace) > len(tokens)
    return tokens + [checkpoint.t3.stop_speech] * stopped, smallest_margin(trace)


def load_reference(source: Path, folder: Path):
    """The reference's T3 with this checkpoint's weights. Its package imports its audio libraries at once; the parts
    used here need none of them, so its __init__ files are passed over."""
    for name in ("chatterbox", "chatterbox.models", "chatterbox.models.t3"):
        package = types.ModuleType(name)
        package.__path__ = [str(source / name.replace(".", "/"))]
        sys.modules[name] = package
    config = json.loads((folder / "config.json").read_text())
    llama = importlib.import_module("chatterbox.models.t3.llama_configs").LLAMA_CONFIGS
    llama["embedded"] = llama["Llama_520M"] | {
        "hidden_size": config["t3_hidden_size"], "num_hidden_layers": config["t3_num_layers"],
        "num_attention_heads": config["t3_num_heads"], "num_key_value_heads": config["t3_num_heads"],
        "head_dim": config["t3_head_dim"], "intermediate_size": config["t3_intermediate_size"],
    }  # fmt: skip
    module = importlib.import_module("chatterbox.models.t3.t3")
    module.tqdm = lambda steps, **_: steps
    cond_enc = importlib.import_module("chatterbox.models.t3.modules.cond_enc")
    perceiver = importlib.import_module("chatterbox.models.t3.modules.perceiver").Perceiver
    size = config["t3_hidden_size"]
    cond_enc.Perceiver = lambda: perceiver(
        pre_attention_query_size=size, embedding_dim=size, num_attn_heads=config["t3_perceiver_heads"]
    )
    configs = importlib.import_module("chatterbox.models.t3.modules.t3_config")

    class Config(configs.T3Config):
        n_channels = size

    hp = Config(config["t3_text_vocab_size"])
    hp.llama_config_name = "embedded"
    hp.speech_tokens_dict_size = config["t3_speech_vocab_size"]
    hp.max_text_tokens, hp.max_speech_tokens = config["t3_max_text_tokens"], config["t3_max_speech_tokens"]
    t3 = module.T3(hp)
    t3.load_state_dict(load_file(folder / "t3_cfg.safetensors"))
    return t3.float().eval(), cond_enc.T3Cond


def reference_greedy(reference, ids: Tensor, voice: dict) -> list[int]:
    t3, condition = reference
    row = torch.cat((torch.tensor([255]), ids, torch.tensor([0])))
    cond = condition(
        speaker_emb=voice["speaker"][None],
        cond_prompt_speech_tokens=voice["t3_prompt"][None],
        emotion_adv=torch.full((1, 1, 1), voice["emotion"]),
    )
    likeliest = lambda probabilities, num_samples: probabilities.argmax(-1, keepdim=True)
    with mock.patch("torch.multinomial", likeliest):
        tokens = t3.inference(
            t3_cond=cond, text_tokens=torch.stack((row, row)), max_new_tokens=MAX_TOKENS, top_p=1.0, **PARAMETERS
        )
    return tokens.flatten().tolist()


def record(folder: Path, target: Path, reference_source: Path | None) -> None:
    """Throws when the reference disagrees, or when a choice is too close for another program to make it too."""
    checkpoint = Checkpoint(folder)
    voice = checkpoint.voice()
    reference = load_reference(reference_source, folder) if reference_source else None
    golden: dict[str, Tensor] = {}
    for n, text in enumerate(TEXTS):
        ids = text_ids(punc_norm(text))
        tokens, margin = greedy(checkpoint, ids, voice)
        if margin < LEAST_MARGIN:
            raise RuntimeError(f"smallest margin {margin:.2g}, less than {LEAST_MARGIN}: choose another text: {text}")
        if reference and (theirs := reference_greedy(reference, ids, voice)) != tokens:
            first = next((i for i, (a, b) in enumerate(zip(tokens, theirs)) if a != b), min(len(tokens), len(theirs)))
            raise RuntimeError(f"the reference differs from token {first} on (smallest margin {margin:.2g}): {text}")
        golden |= {
            f"u{n}.text_ids": ids, f"u{n}.tokens": torch.tensor(tokens), f"u{n}.min_margin": torch.tensor([margin]),
            f"u{n}.params": torch.tensor([*PARAMETERS.values(), 1.0, voice["emotion"]]),
        }  # fmt: skip
        print(f"record: {len(tokens)} tokens, smallest margin {margin:.2g}: {text}")
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(golden, target, metadata={f"u{n}.text": text for n, text in enumerate(TEXTS)})
    target.chmod(0o644)  # save_file leaves it to the owner alone
