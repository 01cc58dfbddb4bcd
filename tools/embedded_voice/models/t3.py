"""T3: text to speech tokens. A Llama over [voice | text | speech], as in the reference's models/t3.

Keys: t3_cfg.safetensors. One utterance is the sequence
    speaker row, 32 perceiver rows, emotion row | start, text, stop | start-of-speech twice at position 0, speech from 1
and the head's answer on a speech row is the next speech token.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONDITIONING_ROWS = 34


def rope_tables(head_dim: int, length: int, device) -> tuple[Tensor, Tensor]:
    """cos and sin, [length, head_dim]: theta 500000 with llama3 scaling (factor 8, low 1, high 4, original 8192)."""
    inv_freq = 1.0 / 500_000.0 ** (torch.arange(0, head_dim, 2, dtype=torch.float32, device=device) / head_dim)
    wavelength = 2 * math.pi / inv_freq
    smooth = ((8192 / wavelength - 1) / 3).clamp(0, 1)  # 0 for long waves, 1 for short ones
    inv_freq = (1 - smooth) * inv_freq / 8 + smooth * inv_freq
    angles = torch.arange(length, device=device, dtype=torch.float32)[:, None] * inv_freq
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x: [..., length, head_dim]; halves rotated, not interleaved."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class RMSNorm(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        x32 = x.float()
        return (x32 * torch.rsqrt(x32.square().mean(-1, keepdim=True) + 1e-5) * self.weight).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.heads = d.t3_num_heads
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(self, name, nn.Linear(d.t3_hidden_size, d.t3_hidden_size, bias=False))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: list | None) -> Tensor:
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        if cache:
            k, v = torch.cat((cache[0], k), dim=2), torch.cat((cache[1], v), dim=2)
        if cache is not None:
            cache[:] = [k, v]
        # One new row sees everything; a prompt is causal.
        out = F.scaled_dot_product_attention(q, k, v, is_causal=q.shape[2] > 1)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.gate_proj = nn.Linear(d.t3_hidden_size, d.t3_intermediate_size, bias=False)
        self.up_proj = nn.Linear(d.t3_hidden_size, d.t3_intermediate_size, bias=False)
        self.down_proj = nn.Linear(d.t3_intermediate_size, d.t3_hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.self_attn = Attention(d)
        self.mlp = Mlp(d)
        self.input_layernorm = RMSNorm(d.t3_hidden_size)
        self.post_attention_layernorm = RMSNorm(d.t3_hidden_size)

    def forward(self, x, cos, sin, cache):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.head_dim = d.t3_head_dim
        self.embed_tokens = nn.Embedding(8, d.t3_hidden_size)  # in the file, never read
        self.embed_tokens.weight.requires_grad = False
        self.layers = nn.ModuleList(Layer(d) for _ in range(d.t3_num_layers))
        self.norm = RMSNorm(d.t3_hidden_size)

    def forward(self, x: Tensor, start: int = 0, caches: list | None = None) -> Tensor:
        """x: [rows, length, hidden] at positions start…; caches: one list per layer, extended in place."""
        cos, sin = (t[start:] for t in rope_tables(self.head_dim, start + x.shape[1], x.device))
        for i, layer in enumerate(self.layers):
            x = layer(x, cos, sin, None if caches is None else caches[i])
        return self.norm(x)


class PerceiverAttention(nn.Module):
    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(size)
        for name in ("to_q", "to_k", "to_v", "proj_out"):
            setattr(self, name, nn.Linear(size, size))

    def forward(self, x: Tensor, context: Tensor, lengths: Tensor | None) -> Tensor:
        mask = None
        if lengths is not None:
            mask = (torch.arange(context.shape[1], device=x.device) < lengths[:, None])[:, None, None]
        normed = self.norm(context)
        q, k, v = self.to_q(self.norm(x)), self.to_k(normed), self.to_v(normed)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return x + self.proj_out(out.transpose(1, 2).flatten(2))


class Perceiver(nn.Module):
    """32 learned queries look at the prompt, then at themselves, through one block."""

    def __init__(self, size: int, heads: int):
        super().__init__()
        self.pre_attention_query = nn.Parameter(torch.randn(1, 32, size) * 0.3)
        self.attn = PerceiverAttention(size, heads)

    def forward(self, prompt: Tensor, lengths: Tensor | None) -> Tensor:
        seen = self.attn(self.pre_attention_query.expand(prompt.shape[0], -1, -1), prompt, lengths)
        return self.attn(seen, seen, None)


class ConditioningEncoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.spkr_enc = nn.Linear(256, d.t3_hidden_size)
        self.emotion_adv_fc = nn.Linear(1, d.t3_hidden_size, bias=False)
        self.perceiver = Perceiver(d.t3_hidden_size, d.t3_perceiver_heads)


class PositionTable(nn.Module):
    def __init__(self, rows: int, size: int):
        super().__init__()
        self.emb = nn.Embedding(rows, size)
        nn.init.normal_(self.emb.weight, std=0.02)


class T3(nn.Module):
    """The module tree of t3_cfg.safetensors."""

    def __init__(self, d):
        super().__init__()
        size = d.t3_hidden_size
        self.start_text, self.stop_text, self.start_speech, self.stop_speech = 255, 0, 6561, 6562
        self.tfmr = Llama(d)
        self.cond_enc = ConditioningEncoder(d)
        self.text_emb = nn.Embedding(d.t3_text_vocab_size, size)
        self.speech_emb = nn.Embedding(d.t3_speech_vocab_size, size)
        self.text_pos_emb = PositionTable(d.t3_max_text_tokens + 2, size)
        self.speech_pos_emb = PositionTable(d.t3_max_speech_tokens + 4, size)
        self.text_head = nn.Linear(size, d.t3_text_vocab_size, bias=False)
        self.text_head.weight.requires_grad = False  # in the file, never read
        self.speech_head = nn.Linear(size, d.t3_speech_vocab_size, bias=False)
        for table in (self.text_emb, self.speech_emb):
            nn.init.normal_(table.weight, std=0.1)
        nn.init.normal_(self.speech_head.weight, std=0.02)

    def conditioning(self, speaker: Tensor, prompt: Tensor, prompt_lengths: Tensor | None, emotion: Tensor) -> Tensor:
        """speaker [rows, 256], prompt tokens [rows, n], emotion [rows] -> [rows, 34, hidden]."""
        seen = self.speech_emb(prompt) + self.speech_pos_emb.emb.weight[: prompt.shape[1]]
        return torch.cat((
            self.cond_enc.spkr_enc(speaker)[:, None],
            self.cond_enc.perceiver(seen, prompt_lengths),
            self.cond_enc.emotion_adv_fc(emotion[:, None, None]),
        ), dim=1)  # fmt: skip

    def embed_text(self, text: Tensor, kept: Tensor) -> Tensor:
        """text [rows, n] with start and stop; where @p kept [rows] is 0 the words vanish and the positions stay."""
        return self.text_emb(text) * kept[:, None, None] + self.text_pos_emb.emb.weight[: text.shape[1]]

    def embed_speech(self, speech: Tensor, first_position: int) -> Tensor:
        n = speech.shape[1]
        return self.speech_emb(speech) + self.speech_pos_emb.emb.weight[first_position : first_position + n]

    def loss_logits(self, batch: dict) -> Tensor:
        """The head's answers for every speech row of a padded batch, in the order of batch["answers"]: the rows are
        packed to the left (batch["order"]), so that speech follows text directly as it does at inference."""
        cond = self.conditioning(batch["speaker"], batch["prompt"], batch["prompt_lengths"], batch["emotion"])
        text = self.embed_text(batch["text"], batch["text_kept"])
        start = self.embed_speech(batch["speech"][:, :1], 0)
        padded = torch.cat((cond, text, start, self.embed_speech(batch["speech"], 0)), dim=1)
        packed = padded.flatten(0, 1)[batch["order"]]
        hidden = self.tfmr(packed)
        return self.speech_head(hidden.flatten(0, 1)[batch["answer_rows"]])

    @torch.inference_mode()
    def generate(
        self,
        text: Tensor,
        speaker: Tensor,
        prompt: Tensor,
        emotion: float,
        max_tokens: int,
        cfg_weight: float = 0.5,
        repetition_penalty: float = 1.2,
        temperature: float = 0.8,
        min_p: float = 0.05,
        generator: torch.Generator | None = None,
        trace: list | None = None,
    ) -> list[int]:
        """Tokens for text ids [n] (without start and stop), the stop token not included. Without a @p generator the
        likeliest token is taken. @p trace receives the processed logits of each step."""
        device = speaker.device
        edge = lambda token: torch.tensor([token], device=device)
        text = torch.cat((edge(self.start_text), text.to(device), edge(self.stop_text)))[None].expand(2, -1)
        cond = self.conditioning(speaker.view(1, -1), prompt.view(1, -1), None, torch.tensor([emotion], device=device))
        bos = self.embed_speech(torch.full((2, 1), self.start_speech, device=device), 0)
        kept = torch.tensor([1.0, 0.0], device=device)
        x = torch.cat((cond.expand(2, -1, -1), self.embed_text(text, kept), bos, bos), dim=1)
        caches, position, history = [[] for _ in self.tfmr.layers], 0, [self.start_speech]
        for step in range(max_tokens):
            hidden = self.tfmr(x, position, caches)
            position += x.shape[1]
            conditional, unconditional = self.speech_head(hidden[:, -1])
            logits = conditional + cfg_weight * (conditional - unconditional)
            logits = process_logits(
                logits, torch.tensor(sorted(set(history)), device=device), repetition_penalty, temperature, min_p
            )
            if trace is not None:
                trace.append(logits)
            token = int(
                logits.argmax()
                if generator is None
                else torch.multinomial(logits.softmax(-1).cpu(), 1, generator=generator)
            )
            if token == self.stop_speech:
                break
            history.append(token)
            x = self.embed_speech(torch.full((2, 1), token, device=device), step + 1)
        return history[1:]


def process_logits(logits: Tensor, seen: Tensor, penalty: float, temperature: float, min_p: float) -> Tensor:
    """Repetition penalty, temperature and min-p in the reference's order; logits [vocabulary]."""
    logits = logits.clone()
    values = logits[seen]
    logits[seen] = torch.where(values < 0, values * penalty, values / penalty)
    logits /= temperature
    probabilities = logits.softmax(-1)
    return logits.masked_fill(probabilities < min_p * probabilities.max(), -torch.inf)
