"""The judge of sphinx.py for waves as the evaluation has them: 24 kHz floats."""

from collections.abc import Sequence

import numpy as np
import torch

from .audio import to_16k
from .sphinx import recognise_clips, skip_grammar


def recognise(waves: Sequence[np.ndarray], grammars: Sequence[str]) -> list[list[str]]:
    """The words heard in each wave under its grammar; none for one that fits no path."""
    resampled = (to_16k(torch.from_numpy(np.asarray(wave, dtype=np.float32))[None])[0].numpy() for wave in waves)
    return recognise_clips([(clip * 32767).astype(int).tolist() for clip in resampled], grammars)


def coverage(waves: Sequence[np.ndarray], texts: Sequence[list[str]]) -> list[float]:
    """The share of each text's words that its wave lets be heard, in order."""
    return [len(h) / len(w) for h, w in zip(recognise(waves, [skip_grammar(w) for w in texts]), texts)]
