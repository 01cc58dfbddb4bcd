"""Stage "flow": tokens to mel.

Every row is a stretch of one utterance; in three quarters of the rows a prompt from another utterance of the same voice
precedes it, its mel given as the condition, as at inference. The x-vector is a third utterance's.
"""

import torch

from . import audio
from .data import Shards, margin_slice
from .encoders import trained_encoders
from .models.flow import Flow, mask_of
from .presets import FRAMES_PER_TOKEN, SAMPLES_PER_TOKEN
from .stage import Batches, Run, Trainer

MARGIN = audio.MEL_MARGIN
JOINT_FRAMES = 3  # of the joined stretches' mel that see both margins between them: 2 x 720 samples
PROMPT_SHARE = (0.15, 0.5)  # of a row's tokens


def draw_row(tokens: int, prompt_tokens: int, item: dict, other: dict, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Waveform with margins around both stretches and the tokens, of which those past the utterance's end are -1:
    the first @p prompt_tokens of @p other, then @p item from token @p first on."""
    prompt = margin_slice(other["audio"], -MARGIN, prompt_tokens * SAMPLES_PER_TOKEN + MARGIN)
    start = first * SAMPLES_PER_TOKEN
    stretch = margin_slice(item["audio"], start - MARGIN, start + (tokens - prompt_tokens) * SAMPLES_PER_TOKEN + MARGIN)
    own = item["tokens"][first : first + tokens - prompt_tokens]
    ids = torch.full((tokens,), -1)
    ids[:prompt_tokens] = torch.from_numpy(other["tokens"][:prompt_tokens].astype("int64"))
    ids[prompt_tokens : prompt_tokens + len(own)] = torch.from_numpy(own.astype("int64"))
    return torch.cat((torch.from_numpy(prompt), torch.from_numpy(stretch))), ids


def mel_of_joined(waves: torch.Tensor, prompt_tokens: torch.Tensor) -> torch.Tensor:
    """[rows, 80, 2 tokens] of draw_row()'s waves, each stretch's frames from its own samples only."""
    mel = audio.mel_of_padded(waves)
    frames = torch.arange(mel.shape[2] - JOINT_FRAMES, device=waves.device)
    frames = frames + JOINT_FRAMES * (frames >= FRAMES_PER_TOKEN * prompt_tokens[:, None])
    return mel.gather(2, frames[:, None].expand(-1, 80, -1))


class FlowTrainer(Trainer):
    name = "flow"

    def __init__(self, run: Run):
        self.plan = run.preset.flow
        super().__init__(run, {"model": Flow(run.preset.dims)})
        _, self.fingerprint = trained_encoders(run)
        if not run.state_file(self.name).exists():
            self.start_at_the_mean()

    @torch.no_grad()
    def start_at_the_mean(self) -> None:
        """The last biases start at the mean mel: without that, training stalls for thousands of steps."""
        mels = [
            audio.mel24(torch.from_numpy(u["audio"].astype("float32") / 32768)[None])[0]
            for u in Shards(self.run.shards).utterances[:64]
        ]
        mean = torch.cat(mels, dim=1).mean(1).to(self.run.device)
        self.modules["model"].encoder_proj.bias.copy_(mean)
        self.modules["model"].decoder.estimator.final_proj.bias.copy_(mean)

    def dataset(self):
        folder, fingerprint, plan, lengths = self.run.shards, self.fingerprint, self.plan, self.run.preset.flow_tokens

        def make(generator):
            shards = Shards(folder, fingerprint)
            uniform = lambda: float(torch.rand((), generator=generator))
            pick = lambda items: items[int(uniform() * len(items))]
            turn = 0
            while True:
                shards.refresh()
                tokens = lengths[turn % len(lengths)]
                rows = max(1, plan.rows * lengths[0] // tokens)
                turn += 1
                waves, ids, prompts, xvectors = [], [], [], []
                for row in range(rows):
                    item = pick(shards.utterances)
                    voice = shards.by_voice[item["voice"]]
                    other = pick(voice)
                    share = PROMPT_SHARE[0] + uniform() * (PROMPT_SHARE[1] - PROMPT_SHARE[0])
                    prompt = 0 if row % 4 == 0 else min(int(share * tokens), len(other["tokens"]))
                    spare = max(0, len(item["tokens"]) - (tokens - prompt))
                    wave, row_ids = draw_row(tokens, prompt, item, other, int(uniform() * (spare + 1)))
                    waves.append(wave)
                    ids.append(row_ids)
                    prompts.append(prompt)
                    xvectors.append(torch.from_numpy(pick(voice)["xvector"]))
                yield {"wave": torch.stack(waves), "tokens": torch.stack(ids), "prompt": torch.tensor(prompts),
                       "xvector": torch.stack(xvectors)}  # fmt: skip

        return Batches(self.run.seed * 100 + self.step + 1, make)

    def losses(self, batch):
        model: Flow = self.modules["model"]
        mel = mel_of_joined(batch["wave"].float() / 32768, batch["prompt"])
        lengths = (batch["tokens"] >= 0).sum(1)
        mask = mask_of(FRAMES_PER_TOKEN * lengths, mel.shape[2])[:, None]
        cond = mel * mask_of(FRAMES_PER_TOKEN * batch["prompt"], mel.shape[2])[:, None]
        with self.run.autocast():
            mu = model.mu(batch["tokens"].clamp(min=0), lengths)
            speaker = model.speaker(batch["xvector"])
            cfm = model.decoder.loss(mel, mask, mu, speaker, cond)
        prior = ((mu.float() - mel).abs() * mask).sum() / (80 * mask.sum())
        return {"loss": cfm + prior, "cfm": cfm, "mu_l1": prior}
