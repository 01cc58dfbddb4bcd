"""Flow: speech tokens to mel. A conformer encoder (tokens -> mu) and a U-Net that a CFM solver calls, as in the
reference's models/s3gen (CosyVoice 2). Keys: `flow.` of s3gen.safetensors.

Everything is right-padded and takes lengths; what lies beyond a length never reaches a valid row.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..presets import CODEBOOK


def mask_of(lengths: Tensor, size: int) -> Tensor:
    """[rows, size], 1.0 within the length."""
    return (torch.arange(size, device=lengths.device) < lengths[:, None]).float()


def relative_positions(length: int, size: int, device) -> Tensor:
    """[2 length - 1, size]: sin and cos interleaved for the offsets length-1 … -(length-1)."""
    offsets = torch.arange(length - 1, -length, -1, device=device, dtype=torch.float32)[:, None]
    angles = offsets * torch.exp(torch.arange(0, size, 2, device=device) * -(math.log(10000.0) / size))
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


class RelativeAttention(nn.Module):
    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        for name in ("linear_q", "linear_k", "linear_v", "linear_out"):
            setattr(self, name, nn.Linear(size, size))
        self.linear_pos = nn.Linear(size, size, bias=False)
        self.pos_bias_u = nn.Parameter(torch.empty(heads, size // heads))
        self.pos_bias_v = nn.Parameter(torch.empty(heads, size // heads))
        nn.init.xavier_uniform_(self.pos_bias_u)
        nn.init.xavier_uniform_(self.pos_bias_v)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        rows, n, _ = x.shape
        split = lambda t: t.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # [..., heads, n, head]
        q, k, v = split(self.linear_q(x)), split(self.linear_k(x)), split(self.linear_v(x))
        p = split(self.linear_pos(positions.to(x.dtype)))  # [heads, 2n-1, head]
        by_offset = (q + self.pos_bias_v[:, None]) @ p.transpose(-1, -2)  # [rows, heads, n, 2n-1]
        # Row i needs the offsets i-0 … i-(n-1), columns n-1-i … 2n-2-i: padding by one and re-reading shifts each row.
        shifted = F.pad(by_offset, (1, 0)).view(rows, self.heads, 2 * n, n)[:, :, 1:].reshape(by_offset.shape)[..., :n]
        by_content = (q + self.pos_bias_u[:, None]) @ k.transpose(-1, -2)
        scores = (by_content + shifted).float() / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(mask[:, None, None] == 0, -torch.inf).softmax(-1)
        out = weights.to(v.dtype) @ v
        return self.linear_out(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, size: int, inner: int):
        super().__init__()
        self.w_1 = nn.Linear(size, inner)
        self.w_2 = nn.Linear(inner, size)

    def forward(self, x):
        return self.w_2(F.silu(self.w_1(x)))


class EncoderBlock(nn.Module):
    def __init__(self, size: int, heads: int, inner: int):
        super().__init__()
        self.self_attn = RelativeAttention(size, heads)
        self.feed_forward = FeedForward(size, inner)
        self.norm_ff = nn.LayerNorm(size, eps=1e-12)
        self.norm_mha = nn.LayerNorm(size, eps=1e-12)

    def forward(self, x, positions, mask):
        x = x + self.self_attn(self.norm_mha(x), positions, mask)
        return x + self.feed_forward(self.norm_ff(x))


class InputLayer(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.out = nn.Sequential(nn.Linear(size, size), nn.LayerNorm(size, eps=1e-5))

    def forward(self, x):
        return self.out(x) * math.sqrt(x.shape[-1])


class LookAhead(nn.Module):
    def __init__(self, size: int, ahead: int):
        super().__init__()
        self.ahead = ahead
        self.conv1 = nn.Conv1d(size, size, ahead + 1)
        self.conv2 = nn.Conv1d(size, size, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The rows after an utterance's end are zero here although the input layer made them something else."""
        x = x * mask[..., None]
        y = F.leaky_relu(self.conv1(F.pad(x.transpose(1, 2), (0, self.ahead))))
        return self.conv2(F.pad(y, (2, 0))).transpose(1, 2) + x


class UpLayer(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.conv = nn.Conv1d(size, size, 5)

    def forward(self, x: Tensor) -> Tensor:
        doubled = x.transpose(1, 2).repeat_interleave(2, dim=2)
        return self.conv(F.pad(doubled, (4, 0))).transpose(1, 2)


class Encoder(nn.Module):
    def __init__(self, d):
        super().__init__()
        size = d.s3gen_encoder_size
        blocks = lambda n: nn.ModuleList(
            EncoderBlock(size, d.s3gen_encoder_heads, d.s3gen_encoder_linear_units) for _ in range(n)
        )
        self.embed = InputLayer(size)
        self.after_norm = nn.LayerNorm(size, eps=1e-5)
        self.pre_lookahead_layer = LookAhead(size, 3)
        self.encoders = blocks(d.s3gen_encoder_blocks)
        self.up_layer = UpLayer(size)
        self.up_embed = InputLayer(size)
        self.up_encoders = blocks(d.s3gen_encoder_up_blocks)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """[rows, tokens, size] -> [rows, 2 tokens, size]."""
        mask = mask_of(lengths, x.shape[1])
        x = self.pre_lookahead_layer(self.embed(x), mask)
        positions = relative_positions(x.shape[1], x.shape[2], x.device)
        for block in self.encoders:
            x = block(x, positions, mask)
        x = self.up_embed(self.up_layer(x))
        mask = mask_of(2 * lengths, x.shape[1])
        positions = relative_positions(x.shape[1], x.shape[2], x.device)
        for block in self.up_encoders:
            x = block(x, positions, mask)
        return self.after_norm(x)


class CausalConv(nn.Conv1d):
    def forward(self, x):
        return super().forward(F.pad(x, (self.kernel_size[0] - 1, 0)))


class Transpose(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class ConvBlock(nn.Module):
    def __init__(self, size_in: int, size: int):
        super().__init__()
        self.block = nn.Sequential(
            CausalConv(size_in, size, 3), Transpose(), nn.LayerNorm(size), Transpose(), nn.Mish()
        )

    def forward(self, x, mask):
        return self.block(x * mask) * mask


class ResnetBlock(nn.Module):
    def __init__(self, size_in: int, size: int, time_size: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(time_size, size))
        self.block1 = ConvBlock(size_in, size)
        self.block2 = ConvBlock(size, size)
        self.res_conv = nn.Conv1d(size_in, size, 1)

    def forward(self, x, mask, time):
        h = self.block1(x, mask) + self.mlp(time)[..., None]
        return self.block2(h, mask) + self.res_conv(x * mask)


class SelfAttention(nn.Module):
    def __init__(self, size: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        for name in ("to_q", "to_k", "to_v"):
            setattr(self, name, nn.Linear(size, heads * head_dim, bias=False))
        self.to_out = nn.ModuleList([nn.Linear(heads * head_dim, size)])

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.to_q, self.to_k, self.to_v))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.to_out[0](out.transpose(1, 2).flatten(2))


class Gelu(nn.Module):
    def __init__(self, size: int, inner: int):
        super().__init__()
        self.proj = nn.Linear(size, inner)

    def forward(self, x):
        return F.gelu(self.proj(x))


class GeluFeedForward(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.net = nn.Sequential(Gelu(size, 4 * size), nn.Identity(), nn.Linear(4 * size, size))

    def forward(self, x):
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, size: int, heads: int, head_dim: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(size)
        self.attn1 = SelfAttention(size, heads, head_dim)
        self.norm3 = nn.LayerNorm(size)
        self.ff = GeluFeedForward(size)

    def forward(self, x, bias):
        x = x + self.attn1(self.norm1(x), bias)
        return x + self.ff(self.norm3(x))


class TimeMlp(nn.Module):
    def __init__(self, size_in: int, size: int):
        super().__init__()
        self.linear_1 = nn.Linear(size_in, size)
        self.linear_2 = nn.Linear(size, size)

    def forward(self, x):
        return self.linear_2(F.silu(self.linear_1(x)))


def time_embedding(t: Tensor, size: int) -> Tensor:
    """t [rows] in 0…1 -> [rows, size], sines first."""
    frequencies = torch.exp(torch.arange(size // 2, device=t.device) * -(math.log(10000) / (size // 2 - 1)))
    angles = 1000 * t[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


class Estimator(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.in_channels = 320
        size, time_size = d.s3gen_estimator_channels, 4 * d.s3gen_estimator_channels
        transformers = lambda: nn.ModuleList(
            TransformerBlock(size, d.s3gen_estimator_heads, d.s3gen_estimator_head_dim)
            for _ in range(d.s3gen_estimator_blocks_per_stage)
        )
        stage = lambda size_in, *more: nn.ModuleList([ResnetBlock(size_in, size, time_size), transformers(), *more])
        self.time_mlp = TimeMlp(self.in_channels, time_size)
        self.down_blocks = nn.ModuleList([stage(self.in_channels, CausalConv(size, size, 3))])
        self.mid_blocks = nn.ModuleList(stage(size) for _ in range(d.s3gen_estimator_mid_stages))
        self.up_blocks = nn.ModuleList([stage(2 * size, CausalConv(size, size, 3))])
        self.final_block = ConvBlock(size, size)
        self.final_proj = nn.Conv1d(size, 80, 1)

    def forward(self, x: Tensor, mask: Tensor, mu: Tensor, t: Tensor, speaker: Tensor, cond: Tensor) -> Tensor:
        """x, mu, cond [rows, 80, frames], mask [rows, 1, frames], t [rows], speaker [rows, 80] -> dx/dt."""
        time = self.time_mlp(time_embedding(t, self.in_channels).to(x.dtype))
        x = torch.cat((x, mu, speaker[..., None].expand_as(x), cond), dim=1)
        bias = ((1.0 - mask) * -1.0e10)[:, None]  # [rows, 1, 1, frames]

        def run(stage, x):
            x = stage[0](x, mask, time).transpose(1, 2)
            for block in stage[1]:
                x = block(x, bias)
            return x.transpose(1, 2)

        skip = run(self.down_blocks[0], x)
        x = self.down_blocks[0][2](skip * mask)
        for stage in self.mid_blocks:
            x = run(stage, x)
        x = run(self.up_blocks[0], torch.cat((x, skip), dim=1))
        x = self.up_blocks[0][2](x * mask)
        return self.final_proj(self.final_block(x, mask) * mask) * mask


class Cfm(nn.Module):
    """Conditional flow matching: a straight path from noise to mel."""

    sigma_min = 1e-6

    def __init__(self, d):
        super().__init__()
        self.estimator = Estimator(d)

    def loss(self, mel, mask, mu, speaker, cond, drop: float = 0.2) -> Tensor:
        """Squared error of the predicted velocity; in a share @p drop of the rows nothing is given to go by."""
        rows = mel.shape[0]
        t = 1 - torch.cos(torch.rand(rows, 1, 1, device=mel.device) * 0.5 * math.pi)
        noise = torch.randn_like(mel)
        x = (1 - (1 - self.sigma_min) * t) * noise + t * mel
        velocity = mel - (1 - self.sigma_min) * noise
        kept = (torch.rand(rows, device=mel.device) > drop).to(mel)
        predicted = self.estimator(
            x, mask, mu * kept[:, None, None], t.flatten(), speaker * kept[:, None], cond * kept[:, None, None]
        )
        return ((predicted - velocity).float().square() * mask).sum() / (mask.sum() * mel.shape[1])

    def solve(self, noise, mask, mu, speaker, cond, steps: int = 10, guidance: float = 0.7) -> Tensor:
        """Euler from noise to mel on the cosine schedule, [rows, 80, frames]."""
        times = 1 - torch.cos(torch.linspace(0, 1, steps + 1, device=mu.device) * 0.5 * math.pi)
        rows, x = noise.shape[0], noise
        twice = lambda value: torch.cat((value, torch.zeros_like(value)))
        mu, speaker, cond, mask = twice(mu), twice(speaker), twice(cond), torch.cat((mask, mask))
        for t, after in zip(times[:-1], times[1:]):
            velocity = self.estimator(torch.cat((x, x)), mask, mu, t.expand(2 * rows), speaker, cond)
            given, free = velocity.chunk(2)
            x = x + (after - t) * ((1 + guidance) * given - guidance * free)
        return x


class Flow(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.input_embedding = nn.Embedding(CODEBOOK, d.s3gen_encoder_size)
        self.spk_embed_affine_layer = nn.Linear(192, 80)
        self.encoder = Encoder(d)
        self.encoder_proj = nn.Linear(d.s3gen_encoder_size, 80)
        self.decoder = Cfm(d)

    def speaker(self, xvector: Tensor) -> Tensor:
        return self.spk_embed_affine_layer(F.normalize(xvector, dim=1))

    def mu(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """[rows, tokens] -> [rows, 80, 2 tokens]."""
        x = self.input_embedding(tokens) * mask_of(lengths, tokens.shape[1])[..., None]
        return self.encoder_proj(self.encoder(x, lengths)).transpose(1, 2)

    @torch.inference_mode()
    def synthesise(
        self, tokens: Tensor, prompt_tokens: Tensor, prompt_mel: Tensor, xvector: Tensor, noise: Tensor, steps: int = 10
    ) -> Tensor:
        """One utterance: tokens [n], prompt_tokens [p], prompt_mel [2p, 80], xvector [192],
        noise [80, 2 (p + n)] -> mel [80, 2n]."""
        both = torch.cat((prompt_tokens, tokens))[None]
        length = torch.tensor([both.shape[1]], device=both.device)
        mu = self.mu(both, length)
        cond = torch.zeros_like(mu)
        cond[0, :, : prompt_mel.shape[0]] = prompt_mel.T
        mel = self.decoder.solve(noise[None], torch.ones_like(mu[:, :1]), mu, self.speaker(xvector[None]), cond, steps)
        return mel[0, :, prompt_mel.shape[0] :]
