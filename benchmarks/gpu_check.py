"""What one GPU can check in under eight minutes: the tests that need a GPU, then speed and memory of training.

    python benchmarks/gpu_check.py                                  # a model of 1 B, and LoRA on one of 8 B
    python benchmarks/gpu_check.py --models tiny --output tiny.md   # without a GPU: the script itself

The models are Llamas with random weights. Each row is a process of its own: it trains on random texts, pairs of which
have the first quarter in common. The first update is not counted. Results go into ``benchmarks/RESULTS.md``; a row
that was not measured says so.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_memory import TINY, config_of, train, write_model

from shiqbench.base.machine import has_gpu

ROOT = Path(__file__).parents[1]
LORA = {"lora_rank": 16, "base_weights": "bf16", "checkpointing": True}
WORK = {"updates": 4, "batch_episodes": 16, "micro_tokens": 8192}  # four texts of 2,048 tokens in a pass
MODELS: dict[str, dict[str, int]] = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 32_768},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "vocab_size": 128_256},
    "tiny": TINY,
}
# The first setting of a model is trained with every algorithm, the others with dpo only.
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "1B": {
        "all weights": WORK,
        "no shared prefixes": {**WORK, "share_prefix": False},
        "checkpointing": {**WORK, "checkpointing": True},
        "last 4 layers": {**WORK, "top_layers": 4},
        "LoRA": {**WORK, "lora_rank": 16},
    },
    "8B": {
        "LoRA on bf16, checkpointing": {**WORK, **LORA},
        "no shared prefixes": {**WORK, **LORA, "share_prefix": False},
        "no checkpointing": {**WORK, **LORA, "checkpointing": False},
        "int8 weights": {**WORK, **LORA, "base_weights": "int8"},
        "last 8 layers": {**WORK, **LORA, "top_layers": 8},
    },
    "tiny": {"all weights": {"precision": "fp32"}, "LoRA, checkpointing": LORA},
}
ALGORITHMS = ("sft", "dpo", "shiq")
TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0}  # the vendor's, dense, in bf16
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        model: Key of ``MODELS``.
        algorithm: Its name.
        setting: Key of ``SETTINGS[model]``.
    """

    model: str
    algorithm: str
    setting: str


def rows(models: list[str]) -> list[Row]:
    """Every training that is to be measured, in order."""
    return [
        Row(model, algorithm, setting)
        for model in models
        for i, setting in enumerate(SETTINGS[model])
        for algorithm in (ALGORITHMS if i == 0 else ("dpo",))
    ]


def device() -> tuple[str, float | None]:
    """Name of the GPU, and its peak in FLOP/s; without a GPU ``CPU`` and None."""
    if not has_gpu():
        return "CPU", None
    import torch

    name = torch.cuda.get_device_name()
    return name, next((1e12 * peak for part, peak in TFLOPS.items() if part in name), None)


def measure(folder: Path, row: Row) -> dict[str, float | None]:
    """Train in this process: tokens per second, share of the GPU's peak, and peak memory in 10^9 bytes.

    A token costs 4 N + 2 T operations (N weights, T of them trained); attention and recomputation are not counted.
    """
    import torch

    lines, weights, trained = train(folder, config_of(SETTINGS[row.model][row.setting]), row.algorithm)
    tokens = lines[-1]["tokens"] - lines[0]["tokens"]
    speed = tokens / sum(line["seconds"] for line in lines[1:])
    peak = device()[1]
    resident = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else resident
    mfu = None if peak is None else speed * (4 * weights + 2 * trained) / peak
    return {"speed": speed, "mfu": mfu, "gb": memory / 1e9}


def child(*words: str, seconds: float) -> tuple[str, str]:
    """Run this file in a process of its own: its last line, and in one line what went wrong."""
    command, over = [sys.executable, __file__, *words], f"{NOT_MEASURED}: no time left"
    if seconds <= 0:
        return "", over
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)  # noqa: S603
    except subprocess.TimeoutExpired:
        return "", over
    if done.returncode:
        message = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return "", f"failed: {message[:120].replace('|', '/')}"
    return done.stdout.strip().splitlines()[-1], ""


def cells(found: dict[str, float | None]) -> str:
    """The three numbers of a row."""
    mfu = "-" if found["mfu"] is None else f"{found['mfu']:.0%}"
    return f"{found['speed']:,.0f} | {mfu} | {found['gb']:.1f}"


def tests(seconds: float) -> str:
    """The last line of ``pytest -m gpu``."""
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)  # noqa: S603
    except subprocess.TimeoutExpired:
        return f"not finished after {seconds:.0f} s"
    return (done.stdout.strip().splitlines() or [f"exit code {done.returncode}"])[-1].strip("= ")


def check(models: list[str], minutes: float) -> list[str]:
    """The lines of the page, measured until the time is over."""
    end = time.monotonic() + 60 * minutes
    name, _ = device()
    measured = name != "CPU" or models == ["tiny"]
    said = tests(max(1.0, (end - time.monotonic()) / 3)) if name != "CPU" else NOT_MEASURED
    lines = [f"Device: {name if measured else NOT_MEASURED}. `pytest -m gpu`: {said}.", ""]
    lines += ["| model | algorithm | setting | tokens/s | MFU | peak GB |", "|---|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as place:
        for row in rows(models):
            values = f"{NOT_MEASURED} | |"
            if measured:
                values = carry_out(row, Path(place) / row.model, end)
            lines.append(f"| {row.model} | {row.algorithm} | {row.setting} | {values} |")
            sys.stdout.write(lines[-1] + "\n")
            sys.stdout.flush()
    return lines


def carry_out(row: Row, folder: Path, end: float) -> str:
    """Measure a row, and write its model first if that is missing."""
    error = ""
    if not (folder / "config.json").exists():
        _, error = child("--write", row.model, str(folder), seconds=end - time.monotonic())
    if not error:
        words = ("--measure", str(folder), row.model, row.algorithm, row.setting)
        line, error = child(*words, seconds=end - time.monotonic())
    return f"{error} | |" if error else cells(json.loads(line))


def main() -> None:
    """Write the page, or make one model or one measurement in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["1B", "8B"])
    parser.add_argument("--minutes", type=float, default=7.5, help="what has not begun by then is not measured")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "RESULTS.md")
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write_model(Path(given.write[1]), MODELS[given.write[0]])
        sys.stdout.write("written\n")
    elif given.measure:
        sys.stdout.write(json.dumps(measure(Path(given.measure[0]), Row(*given.measure[1:]))) + "\n")
    else:
        head = [
            "# Speed and memory on a GPU",
            "",
            "`python benchmarks/gpu_check.py` writes this page; its head says how it is measured.",
        ]
        given.output.write_text("\n".join([*head, "", *check(given.models, given.minutes)]) + "\n")


if __name__ == "__main__":
    main()
