"""One command for everything: all stages as processes of their own, each waiting for what it needs.

On a GPU machine they run at once: cores make audio, the vocoder and the encoders begin with the first shards, tokens
follow when the encoders are done, T3 and flow when there are tokens. On a small machine they run one after the other.
"""

import signal
import subprocess
import sys
import time

STAGES = ("data", "speakers", "tokenizer", "hift", "tokens", "t3", "flow")
# A stage ends by itself soon after its budget. One that hangs is asked to, then killed: its state is half a minute old.
ASK_AFTER_S, KILL_AFTER_S = 20.0, 35.0


class Processes:
    """Stages that run at once until all have ended."""

    def __init__(self, commands: dict[str, list[str]], deadline: float):
        self.deadline = deadline
        self.running = {name: subprocess.Popen(command) for name, command in commands.items()}

    def stop(self, *_) -> None:
        for process in self.running.values():
            process.terminate()

    def wait(self) -> int:
        """0, or the status of the first stage that failed; when one fails the others are asked to save and end."""
        failed, asked = 0, False
        while any(process.poll() is None for process in self.running.values()):
            for name, process in self.running.items():
                if process.poll() and not failed:
                    failed = process.returncode
                    print(f"{name}: failed ({failed}); the other stages save and end", flush=True)
                    self.stop()
            over = time.monotonic() - self.deadline
            if over > ASK_AFTER_S and not asked:
                asked = True
                self.stop()
            if over > KILL_AFTER_S:
                for process in self.running.values():
                    process.kill()
            time.sleep(0.2)
        return failed or next((p.returncode for p in self.running.values() if p.returncode), 0)


def train(arguments: list[str], budget_s: float, one_by_one: bool) -> int:
    """Runs every stage with the common @p arguments until done or the budget is spent; the first bad exit status.
    A stage whose end of budget came first has status 0 too: the next call continues it."""
    deadline = time.monotonic() + budget_s
    for stages in [(stage,) for stage in STAGES] if one_by_one else [STAGES]:
        left = f"{max(1.0, deadline - time.monotonic()):.0f}"
        command = lambda stage: [sys.executable, "-m", __package__, stage, "--budget", left, *arguments]
        processes = Processes({stage: command(stage) for stage in stages}, deadline)
        previous = signal.signal(signal.SIGTERM, processes.stop)
        try:
            if status := processes.wait():
                return status
        finally:
            signal.signal(signal.SIGTERM, previous)
    return 0
