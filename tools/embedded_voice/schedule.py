"""One command for everything: all stages as processes of their own, each waiting for what it needs.

On a GPU machine they run at once: cores make audio, the vocoder and the encoders begin with the first shards, tokens
follow when the encoders are done, T3 and flow when there are tokens. On a small machine they run one after the other.
"""

import signal
import subprocess
import sys
import time

STAGES = ("data", "encoders", "hift", "tokens", "t3", "flow")


def train(arguments: list[str], budget_s: float, one_by_one: bool) -> int:
    """Runs every stage with the common @p arguments until done or the budget is spent; the first bad exit status.
    A stage whose end of budget came first has status 0 too: the next call continues it."""
    deadline = time.monotonic() + budget_s
    running: dict[str, subprocess.Popen] = {}

    def start(stage: str) -> None:
        left = max(1.0, deadline - time.monotonic())
        running[stage] = subprocess.Popen(
            [sys.executable, "-m", __package__, stage, "--budget", f"{left:.0f}", *arguments]
        )

    def stop(*_) -> None:
        for process in running.values():
            process.terminate()

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        if one_by_one:
            for stage in STAGES:
                start(stage)
                if status := running[stage].wait():
                    return status
            return 0
        for stage in STAGES:
            start(stage)
        return watch(running, stop)
    finally:
        signal.signal(signal.SIGTERM, previous)


def watch(running: dict[str, subprocess.Popen], stop) -> int:
    """Waits for all; when one fails the others are asked to save and end."""
    failed = 0
    while any(process.poll() is None for process in running.values()):
        for stage, process in running.items():
            if process.poll() and not failed:
                failed = process.returncode
                print(f"{stage}: failed ({failed}); the other stages save and end", flush=True)
                stop()
        time.sleep(0.5)
    return failed or next((p.returncode for p in running.values() if p.returncode), 0)
