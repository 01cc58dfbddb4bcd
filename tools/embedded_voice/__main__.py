"""python3 -m embedded_voice COMMAND: see README.md."""

import argparse
import os
import resource
import sys
import time
from pathlib import Path

from .presets import PRESETS, longer

BEGAN = time.monotonic()  # a budget counts from here: loading the libraries takes its time too


def stage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, default=Path("embedded-voice-work"), help="shards and states")
    parser.add_argument("--bundle", type=Path, help="folder made by pack: corpus, flite and espeak-ng")
    parser.add_argument("--preset", choices=PRESETS, default="embedded")
    parser.add_argument("--longer", type=float, default=1.0, help="factor on the plans of t3, flow and hift")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=540.0, help="seconds this call may take")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="embedded_voice", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = lambda name, help: commands.add_parser(name, help=help, description=help)
    for name, what in (
        ("data", "teacher audio on all cores"), ("speakers", "voice encoder and CAM++"),
        ("tokenizer", "speech tokenizer"), ("tokens", "tokens and speaker vectors of all audio"), ("t3", "text to tokens"), ("flow", "tokens to mel"),
        ("hift", "mel to waveform"),
    ):  # fmt: skip
        stage_arguments(add(name, what))
    train = add("train", "all stages, each as soon as it has what it needs")
    stage_arguments(train)
    train.add_argument("--one-by-one", action="store_true", help="one stage after the other: for a small machine")
    export = add("export", "write the checkpoint folder")
    stage_arguments(export)
    export.add_argument("--to", type=Path, required=True)
    export.add_argument("--no-cloning", action="store_true", help="declare that no voice can be made from a clip")
    pack = add("pack", "collect what the training machine lacks")
    pack.add_argument("bundle", type=Path)
    out, back = add("carry-out", "states as slices of 15 MiB"), add("carry-in", "states from slices")
    for command in (out, back):
        command.add_argument("--folder", type=Path, default=Path("embedded-voice-work"))
        command.add_argument("slices", type=Path)
    speak = add("speak", "read a text with a checkpoint in torch")
    speak.add_argument("checkpoint", type=Path)
    speak.add_argument("text")
    speak.add_argument("--voice", default="conds.pt", help="file within the checkpoint")
    speak.add_argument("--seed", type=int, default=0)
    speak.add_argument("-o", "--output", type=Path, required=True)
    record = add("record", "greedy tokens of a checkpoint, as a golden file")
    record.add_argument("checkpoint", type=Path)
    record.add_argument("--to", type=Path, required=True)
    record.add_argument("--reference", type=Path, help="the reference's src folder: check that it says the same")
    curves = add("curves", "training curves as pictures")
    curves.add_argument("--folder", type=Path, default=Path("embedded-voice-work"))
    curves.add_argument("--to", type=Path, required=True)
    evaluate = add("evaluate", "how well a checkpoint reads")
    evaluate.add_argument("checkpoint", type=Path)
    evaluate.add_argument("--bundle", type=Path, required=True)
    evaluate.add_argument("--engine", type=Path, help="audiobookd: read with it instead of with torch")
    evaluate.add_argument("--long-text", type=Path, help="2,000 words of it are read passage by passage")
    evaluate.add_argument("--sentences", type=int, default=100)
    evaluate.add_argument("--distractors", type=int, default=300)
    evaluate.add_argument("--to", type=Path, required=True, help="figures as JSON; audio is kept beside it")
    return parser.parse_args(arguments)


def corpus_of(options) -> Path:
    if options.bundle:
        return options.bundle / "corpus.txt.gz"
    from .texts import collect

    file = options.folder / "corpus.txt.gz"
    if not file.exists():
        options.folder.mkdir(parents=True, exist_ok=True)
        collect(file)
    return file


def wait_for(condition, deadline: float, what: str) -> bool:
    while not condition():
        if time.monotonic() > deadline:
            print(f"{what}: not there yet when the budget ended", flush=True)
            return False
        time.sleep(1)
    return True


def run_training_stage(run, name: str) -> None:
    from .data import Shards
    from .encoders import trained_encoders
    from .flow import FlowTrainer
    from .hift import HiftTrainer
    from .speakers import SpeakersTrainer
    from .t3 import T3Trainer
    from .tokenizer import TokenizerTrainer

    fingerprint = None
    if name in ("t3", "flow"):
        if not wait_for(lambda: trained_encoders(run), run.deadline, f"{name}: trained encoders"):
            return
        _, fingerprint = trained_encoders(run)
    if not Shards(run.shards, fingerprint).wait_for(run.preset.utterances_to_start, run.deadline):
        print(f"{name}: too little audio yet when the budget ended", flush=True)
        return
    trainers = (SpeakersTrainer, TokenizerTrainer, T3Trainer, FlowTrainer, HiftTrainer)
    {trainer.name: trainer for trainer in trainers}[name](run).train()


def run_stage(options) -> None:
    from .data import make_shards
    from .encoders import encode_shards
    from .export import export
    from .stage import Run

    # Every shard that a process reads holds a file open.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    run = Run(options.folder, longer(PRESETS[options.preset], options.longer), options.seed, BEGAN + options.budget)
    if options.command == "data":
        make_shards(run.shards, corpus_of(options), run.preset, run.seed, run.deadline)
    elif options.command == "tokens":
        encode_shards(run)
    elif options.command == "export":
        export(run, options.to, cloning=not options.no_cloning)
    else:
        run_training_stage(run, options.command)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    if getattr(options, "bundle", None) and options.command != "pack":
        os.environ["EMBEDDED_VOICE_BUNDLE"] = str(options.bundle)
    match options.command:
        case "pack":
            from .pack import pack

            pack(options.bundle)
        case "train":
            from .schedule import train

            corpus_of(options)
            common = ["--folder", str(options.folder), "--preset", options.preset, "--seed", str(options.seed)]
            common += ["--longer", str(options.longer)]
            common += ["--bundle", str(options.bundle)] if options.bundle else []
            return train(common, BEGAN + options.budget - time.monotonic(), options.one_by_one)
        case "carry-out" | "carry-in":
            from .carry import carry_in, carry_out

            if options.command == "carry-out":
                carry_out(options.folder / "state", options.slices)
            else:
                carry_in(options.slices, options.folder / "state")
        case "speak":
            from .speak import speak

            speak(options.checkpoint, options.text, options.voice, options.seed, options.output)
        case "record":
            from .record import record

            record(options.checkpoint, options.to, options.reference)
        case "curves":
            from .curves import draw

            draw(options.folder / "state", options.to)
        case "evaluate":
            from .evaluate import evaluate

            evaluate(options)
        case _:
            run_stage(options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
