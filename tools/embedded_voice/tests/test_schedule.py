"""Stages that run at once: none is left behind, whatever one of them does."""

import sys
import time

from embedded_voice import schedule
from embedded_voice.schedule import Processes

SAVES_WHEN_ASKED = """
import signal, sys, time, pathlib
def save(*_):
    pathlib.Path(sys.argv[1]).write_text("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
pathlib.Path(sys.argv[1]).write_text("running")
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(60)
"""


def python(script: str, *arguments) -> list[str]:
    return [sys.executable, "-c", script, *map(str, arguments)]


def fails_once(file) -> str:
    return (
        f"import pathlib, time\nwhile not pathlib.Path({str(file)!r}).exists(): time.sleep(0.05)\nraise SystemExit(3)"
    )


def test_all_done_is_status_zero():
    assert Processes({"a": python("pass"), "b": python("pass")}, time.monotonic() + 60).wait() == 0


def test_when_one_fails_the_others_save_and_end(tmp_path):
    state = tmp_path / "state"
    began = time.monotonic()
    processes = Processes({"good": python(SAVES_WHEN_ASKED, state), "bad": python(fails_once(state))}, began + 60)
    assert processes.wait() == 3
    assert state.read_text() == "saved"
    assert time.monotonic() - began < 30


def test_a_stage_that_hangs_past_the_budget_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "ASK_AFTER_S", 2.0)
    monkeypatch.setattr(schedule, "KILL_AFTER_S", 4.0)
    state = tmp_path / "state"
    began = time.monotonic()
    processes = Processes({"slow": python(SAVES_WHEN_ASKED, state), "deaf": python(DEAF)}, began)
    assert processes.wait() < 0, "the deaf one was killed"
    assert state.read_text() == "saved"
    assert time.monotonic() - began < 30
