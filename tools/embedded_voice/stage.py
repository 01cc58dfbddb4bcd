"""A training stage: state on disk that survives any end, a time budget, a schedule, an average of the weights, a log.

state/<stage>.pt holds the weights, their moving average, the optimizers, steps and seconds done; it is replaced as a
whole every half minute, at the end of the budget and on SIGTERM. state/<stage>.csv is the curve.
"""

import csv
import math
import os
import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from .presets import Plan, Preset

WARM_UP_STEPS = 200
EMA_DECAY = 0.999


@dataclass
class Run:
    """What every stage is told."""

    folder: Path
    preset: Preset
    seed: int
    deadline: float  # time.monotonic() at which the call ends
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    def state_file(self, stage: str) -> Path:
        return self.folder / "state" / f"{stage}.pt"

    def autocast(self):
        """bf16 on a GPU, nothing on a CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


def save_atomically(state: dict, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    torch.save(state, part)
    os.replace(part, file)


class Average:
    """Exponential moving average of a module's floating-point state, short at first; counters are copied."""

    def __init__(self, module: nn.Module):
        state = module.state_dict()
        self.values = {k: v.detach().clone() for k, v in state.items()}
        self.updates = 0
        floating = [k for k, v in state.items() if v.is_floating_point()]
        self._pairs = [self.values[k] for k in floating], [state[k] for k in floating]
        counters = [k for k in state if k not in floating]
        self._counters = [self.values[k] for k in counters], [state[k] for k in counters]

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(EMA_DECAY, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(*self._pairs, 1 - decay)
        if self._counters[0]:
            torch._foreach_copy_(*self._counters)

    def load(self, values: dict[str, torch.Tensor], updates: int) -> None:
        for key, value in values.items():
            self.values[key].copy_(value)
        self.updates = updates


def room_for_batches() -> bool:
    """Worker processes hand batches over in shared memory; some containers have next to none."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2 * 2**30:
        return True
    print(f"{memory}: too small for worker processes; batches are prepared in the training process", flush=True)
    return False


class Trainer:
    """Modules with one optimizer; the subclass says what a batch costs.

    The module called "model" is what the stage is for; its average is what later stages and the export take.
    """

    name: str
    plan: Plan

    def __init__(self, run: Run, modules: dict[str, nn.Module]):
        self.run = run
        self.modules = {k: m.to(run.device).train() for k, m in modules.items()}
        self.average = Average(self.modules["model"])
        self.step, self.seconds, self.warm_from = 0, 0.0, 0
        self.optimizers = self.make_optimizers()
        self.rates = [[g["lr"] for g in o.param_groups] for o in self.optimizers]

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        parameters = [p for m in self.modules.values() for p in m.parameters() if p.requires_grad]
        return [torch.optim.AdamW(parameters, self.plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)]

    def dataset(self) -> "Batches":
        raise NotImplementedError

    def losses(self, batch: dict) -> dict[str, torch.Tensor]:
        """The first entry is what is minimised; the others are logged."""
        raise NotImplementedError

    @property
    def progress(self) -> float:
        """0 … 1 of the plan."""
        return min(1.0, max(self.step / self.plan.steps, self.seconds / self.plan.seconds))

    def train_step(self, batch: dict) -> dict[str, torch.Tensor]:
        losses = self.losses(batch)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        next(iter(losses.values())).backward()
        self.clip_and_step(*self.optimizers)
        return losses

    def clip_and_step(self, *optimizers: torch.optim.Optimizer) -> None:
        parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        if torch.isfinite(norm):
            for optimizer in optimizers:
                optimizer.step()

    def set_rates(self) -> None:
        """Warm-up, also after a state without optimizers, then a cosine over the plan."""
        factor = min(1.0, (self.step - self.warm_from + 1) / WARM_UP_STEPS) * (
            0.02 + 0.49 * (1 + math.cos(math.pi * self.progress))
        )
        for optimizer, rates in zip(self.optimizers, self.rates):
            for group, rate in zip(optimizer.param_groups, rates):
                group["lr"] = rate * factor

    def state(self) -> dict:
        return {
            "modules": {k: m.state_dict() for k, m in self.modules.items()},
            "average": self.average.values,
            "average_updates": self.average.updates,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "warm_from": self.warm_from,
        }

    def load(self, state: dict) -> None:
        """What a state lacks (one that was carried between machines) starts anew."""
        for key, saved in state["modules"].items():
            self.modules[key].load_state_dict(saved)
        self.average.load(state["average"], state["average_updates"])
        for optimizer, saved in zip(self.optimizers, state.get("optimizers", [])):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        self.warm_from = state.get("warm_from", self.step)

    def train(self) -> bool:
        """Until the plan is done or the call's time is up; whether the plan is done."""
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        file = self.run.state_file(self.name)
        if file.exists():
            self.load(torch.load(file, map_location=self.run.device, weights_only=True))
        torch.manual_seed(self.run.seed + self.step)
        workers = self.run.preset.workers if room_for_batches() else 0
        loader = DataLoader(
            self.dataset(),
            batch_size=None,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
            prefetch_factor=4 if workers else None,
            pin_memory=self.run.device.type == "cuda",
        )
        with Log(file.with_suffix(".csv")) as log, stop_on_sigterm() as stop:
            saved = began = time.monotonic()
            before = self.seconds
            for batch in loader:
                if self.progress >= 1 or stop.asked or time.monotonic() > self.run.deadline:
                    break
                self.set_rates()
                losses = self.train_step({k: v.to(self.run.device, non_blocking=True) for k, v in batch.items()})
                self.average.update()
                self.step += 1
                self.seconds = before + time.monotonic() - began
                log.add(self.step, self.seconds, losses)
                if time.monotonic() - saved > self.run.preset.save_every_s:
                    save_atomically(self.state(), file)
                    saved = time.monotonic()
            save_atomically(self.state(), file)
        print(f"{self.name}: step {self.step}, {self.progress:.0%} of the plan after {self.seconds:.0f} s", flush=True)
        return self.progress >= 1


class Log:
    """Means of 5 s as a row of CSV and on the terminal."""

    EVERY_S = 5.0

    def __init__(self, file: Path):
        self.file, self.sums, self.count, self.last = file, {}, 0, time.monotonic()

    def __enter__(self):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_):
        if self.count:
            self._write()

    def add(self, step: int, seconds: float, losses: dict[str, torch.Tensor]) -> None:
        for key, value in losses.items():
            self.sums[key] = self.sums.get(key, 0) + value.detach()
        self.count, self.step, self.seconds = self.count + 1, step, seconds
        if time.monotonic() - self.last > self.EVERY_S:
            self._write()

    def _write(self) -> None:
        means = {k: round(float(v) / self.count, 5) for k, v in self.sums.items()}
        row = {"step": self.step, "seconds": round(self.seconds, 1), **means}
        with self.file.open("a", newline="") as out:
            writer = csv.DictWriter(out, row)
            if out.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
        print(self.file.stem, " ".join(f"{k} {v}" for k, v in row.items()), flush=True)
        self.sums, self.count, self.last = {}, 0, time.monotonic()


class StopFlag:
    asked = False


@contextmanager
def stop_on_sigterm():
    """A flag that SIGTERM sets: the loop ends after the step it is in."""
    flag = StopFlag()
    previous = signal.signal(signal.SIGTERM, lambda *_: setattr(flag, "asked", True))
    try:
        yield flag
    finally:
        signal.signal(signal.SIGTERM, previous)


class Batches(IterableDataset):
    """An endless stream of batches; every worker process draws its own. `make(generator, worker)` opens what it needs
    in the process that uses it and yields batches."""

    def __init__(self, seed: int, make):
        self.seed, self.make = seed, make

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        worker = info.id if info else 0
        yield from self.make(torch.Generator().manual_seed(self.seed * 1000 + worker))


def averaged(run: Run, stage: str, module: nn.Module) -> nn.Module | None:
    """@p module with the averaged weights of a stage, for use; None when the stage has no state yet."""
    file = run.state_file(stage)
    if not file.exists():
        return None
    module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True)["average"])
    return module.to(run.device).eval()
