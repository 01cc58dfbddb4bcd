"""Training goes on where it ended: after a budget, a SIGTERM, and on another machine."""

import os
import signal
import time

import pytest
import torch
from torch import nn

from embedded_voice.carry import carry_in, carry_out
from embedded_voice.presets import PRESETS, Plan, Preset, longer
from embedded_voice.stage import Batches, Run, Trainer


class Line(Trainer):
    """Learns y = 3x; batches depend on the step alone, so that an interrupted run sees what an unbroken one sees."""

    name = "t3"  # one of the names that carry knows

    def __init__(self, run, steps=40, pause_s=0.0, after=lambda step: None):
        self.plan = Plan(seconds=1e9, steps=steps, rows=8, rate=0.05)
        self.pause_s, self.after = pause_s, after
        torch.manual_seed(run.seed)
        super().__init__(run, {"model": nn.Linear(1, 1)})

    def dataset(self):
        step = self.step

        def make(generator):
            for i in range(step, 10_000):
                yield {"x": torch.linspace(-1, 1, 8)[:, None] * (1 + i % 3)}

        return Batches(1, make)

    def losses(self, batch):
        time.sleep(self.pause_s)
        self.after(self.step)
        return {"loss": (self.modules["model"](batch["x"]) - 3 * batch["x"]).square().mean()}


def run_in(folder, budget=60.0, save_every_s=1e9) -> Run:
    return Run(folder, Preset(workers=0, save_every_s=save_every_s), 1, time.monotonic() + budget, torch.device("cpu"))


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.modules["model"].parameters()])


def test_an_interrupted_run_ends_where_an_unbroken_one_does(tmp_path):
    unbroken = Line(run_in(tmp_path / "a"))
    assert unbroken.train()
    broken = Line(run_in(tmp_path / "b"), after=lambda step: step == 14 and os.kill(os.getpid(), signal.SIGTERM))
    assert not broken.train() and broken.step == 15
    resumed = Line(run_in(tmp_path / "b"))
    assert resumed.train() and resumed.step == 40
    torch.testing.assert_close(weights(resumed), weights(unbroken))
    torch.testing.assert_close(resumed.average.values["weight"], unbroken.average.values["weight"])


def test_the_budget_ends_a_call_and_loses_nothing(tmp_path):
    began = time.monotonic()
    first = Line(run_in(tmp_path, budget=0.5), pause_s=0.05)
    assert not first.train()
    assert time.monotonic() - began < 3
    state = torch.load(tmp_path / "state/t3.pt", weights_only=True)
    assert state["step"] == first.step > 2
    assert state["seconds"] == pytest.approx(0.5, abs=0.2)


def test_state_is_saved_while_training_runs(tmp_path):
    file = tmp_path / "state/t3.pt"
    seen = []
    Line(run_in(tmp_path, save_every_s=0.0), steps=6, after=lambda step: seen.append(file.exists())).train()
    assert seen == [False, True, True, True, True, True]


def test_a_finished_plan_does_nothing_more(tmp_path):
    Line(run_in(tmp_path)).train()
    again = Line(run_in(tmp_path))
    assert again.train() and again.step == 40


def test_losses_that_are_not_finite_change_no_weights(tmp_path):
    trainer = Line(run_in(tmp_path))
    before = weights(trainer)
    trainer.train_step({"x": torch.full((8, 1), torch.inf)})
    assert torch.equal(weights(trainer), before)


def test_a_carried_state_goes_on_from_the_average(tmp_path):
    first = Line(run_in(tmp_path / "a"), after=lambda step: step == 19 and os.kill(os.getpid(), signal.SIGTERM))
    first.train()
    carry_out(tmp_path / "a/state", tmp_path / "slices")
    carry_in(tmp_path / "slices", tmp_path / "b/state")
    second = Line(run_in(tmp_path / "b"))
    second.load(torch.load(tmp_path / "b/state/t3.pt", weights_only=True))
    assert second.step == 20 and second.warm_from == 20, "the rate warms up again: the moments stayed behind"
    torch.testing.assert_close(second.modules["model"].weight, first.average.values["weight"], atol=2e-3, rtol=0)
    assert (tmp_path / "b/state/t3.csv").read_text() == (tmp_path / "a/state/t3.csv").read_text()


def test_a_carried_state_replaces_none_that_is_there(tmp_path):
    Line(run_in(tmp_path / "a"), steps=5).train()
    carry_out(tmp_path / "a/state", tmp_path / "slices")
    Line(run_in(tmp_path / "b"), steps=9).train()
    carry_in(tmp_path / "slices", tmp_path / "b/state")
    assert torch.load(tmp_path / "b/state/t3.pt", weights_only=True)["step"] == 9


def test_a_finished_plan_goes_on_when_it_is_made_longer():
    preset = PRESETS["embedded"]
    twice = longer(preset, 2.0)
    assert twice.t3.seconds == 2 * preset.t3.seconds and twice.hift.steps == 2 * preset.hift.steps
    assert twice.speakers == preset.speakers and twice.tokenizer == preset.tokenizer, "other tokens, else"
