"""Our evaluation and the leaderboard's own pipeline: same model, prompt, limits, machine and vLLM.

    python benchmarks/bfcl_official.py                    # the embedded model, 20 scenarios
    python benchmarks/bfcl_official.py --model FOLDER --scenarios 46 --max-tokens 128

The official code gets an environment of its own, made once under the cache folder with the user's pip: its
requirements conflict with ours. The server that it starts is the vLLM installed here. Scenarios are those of ``base``
with the shortest official prompts: the embedded model has room for 8,192 tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shiqbench_tasks.bfcl_v3.data import Entry, load_entries
from shiqbench_tasks.bfcl_v3.loop import Dialogue, Limits
from shiqbench_tasks.bfcl_v3.official_prompt import OfficialPrompt
from shiqbench_tasks.bfcl_v3.versions import V3

from shiqbench.base.cache import cache_dir
from shiqbench.base.wheels import fetch
from shiqbench.episodes.generation import Sampling
from shiqbench.episodes.playing import play_all
from shiqbench.models.embedded import CONTEXT, embedded_model

UNWINNABLE = 154  # officially it has more answers than questions; see versions.py
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
REQUIREMENTS = ("bfcl-eval==2025.7.17", "soundfile", "transformers>=5.16.1,<5.20")
# For both: what our engine sets for itself.
SHARED = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "HF_HUB_OFFLINE": "1"}

# ``vllm serve`` asks for its own version under the name of the GPU distribution; the CPU one goes by
# another, and is known by the end of its version.
SERVER = """#!{python}
import importlib.metadata as metadata
version = metadata.version
def found(name):
    try:
        return version(name)
    except metadata.PackageNotFoundError:
        if name != "vllm":
            raise
        return version("vllm-cpu") + "+cpu"
metadata.version = found
from vllm.entrypoints.cli.main import main
if __name__ == "__main__":
    main()
"""


def isolated_python(folder: Path) -> Path:
    """The interpreter of the official environment, which is made if need be."""
    python, whole = folder / "bin" / "python", folder / "whole"
    if not whole.exists():
        sys.stderr.write(f"installing {REQUIREMENTS[0]} into {folder}, once\n")
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)  # noqa: S603
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *REQUIREMENTS], check=True)  # noqa: S603
        whole.touch()
    return python


def shortest(count: int, model: Path) -> list[Entry]:
    """The scenarios whose official prompts have the fewest tokens."""
    from shiqbench.episodes.rendering import Renderer

    root, renderer = fetch(V3.wheel), Renderer(model)
    setting, lengths = OfficialPrompt(root, V3.name), dict[str, int]()
    entries = [e for e in load_entries(root, "base") if e.scenario != UNWINNABLE]
    for entry in entries:
        text = setting.opening(entry)[0].content
        if text not in lengths:
            lengths[text] = len(renderer.tokenizer(text, verbose=False)["input_ids"])
    entries.sort(key=lambda e: lengths[setting.opening(e)[0].content])
    return entries[:count]


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """Play the job's scenarios in this process."""
    from shiqbench.engines.vllm import VllmEngine
    from shiqbench.episodes.generation import ChatGenerator
    from shiqbench.episodes.rendering import Renderer

    started = time.perf_counter()
    root, model = fetch(V3.wheel), Path(job["model"])
    every = {entry.id: entry for entry in load_entries(root, "base")}
    engine = VllmEngine(model, precision=job["precision"], max_context=CONTEXT)
    ready = time.perf_counter()
    setting, limits = OfficialPrompt(root, V3.name), Limits(scores_unfinished=True)
    chat = ChatGenerator(engine, Renderer(model), CONTEXT)
    entries = [every[name] for name in job["ids"]]
    dialogues = play_all(
        lambda i: Dialogue(entries[i], root, limits, setting),
        [0] * len(entries),  # answers are greedy
        chat,
        Sampling(job["max_tokens"]),
        lambda ended: None,
    )
    generated = time.perf_counter()
    episodes = {d.entry.id: {"valid": d.verdict().valid, "texts": _texts(d)} for d in dialogues}
    engine.close()
    return {
        "start": ready - started,
        "generation": generated - ready,
        "rest": time.perf_counter() - generated,
        "messages": sum(d.assistant_messages for d in dialogues),
        "tokens": sum(d.tokens for d in dialogues),
        "episodes": episodes,
    }


def _texts(dialogue: Dialogue) -> list[list[str]]:
    """The model's messages per turn, as the official result files hold them."""
    turns: list[list[str]] = []
    for message in dialogue.messages:
        if message.role == "user":
            turns.append([])
        elif message.role == "assistant":
            turns[-1].append(message.content)
    return turns


def in_a_process(command: list[str], job: dict[str, Any], environment: dict[str, str], folder: Path) -> dict[str, Any]:
    """The report of a process, with its wall time; nothing that it started outlives it.

    Raises:
        SystemExit: It failed; the end of what it said is shown.
    """
    report = folder / "report.json"
    log, started = folder / "log", time.perf_counter()
    with log.open("w") as said:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            process.communicate(json.dumps({**job, "report": str(report)}))
        finally:
            wall = time.perf_counter() - started
            if process.poll() is None or _alive(process.pid):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if process.returncode or not report.exists():
        raise SystemExit(f"{command[1]} failed:\n{log.read_text()[-3000:]}")
    return {**json.loads(report.read_text()), "wall": wall}


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def free_port() -> str:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def compare(python: Path, job: dict[str, Any], threads: int) -> dict[str, dict[str, Any]]:
    """Both reports, the official one first."""
    here = Path(__file__).resolve()
    environment = {**os.environ, **SHARED}
    official = {k: v for k, v in environment.items() if k != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        server = Path(first, "bin", "vllm")
        server.parent.mkdir()
        server.write_text(SERVER.format(python=sys.executable), encoding="utf-8")
        server.chmod(0o700)
        official |= {"PATH": f"{server.parent}:{os.environ['PATH']}", "NO_PROXY": "127.0.0.1"}
        official |= {"BFCL_PROJECT_ROOT": first, "VLLM_ENDPOINT": "127.0.0.1", "VLLM_PORT": free_port()}
        if threads:  # left alone, the server keeps a core for its HTTP side, which is half of a machine with two
            official["OMP_NUM_THREADS"] = str(threads)
        client = [str(python), str(here.with_name("bfcl_official_client.py"))]
        return {
            "official": in_a_process(client, job, official, Path(first)),
            "ours": in_a_process([sys.executable, str(here), "--ours"], job, environment, Path(second)),
        }


def say(*values: object) -> None:
    """One row of a markdown table."""
    sys.stdout.write("| " + " | ".join(str(v) for v in values) + " |\n")


def table(reports: dict[str, dict[str, Any]]) -> None:
    """Print what was measured, and every scenario in which the two differ."""
    official, mine = reports["official"], reports["ours"]
    say("pipeline", "scenarios", "wall s", "start s", "generation s", "messages", "tokens", "tokens/s", "valid")
    say(*["---"] * 9)
    for name, r in reports.items():
        valid = sum(e["valid"] for e in r["episodes"].values())
        seconds = [f"{r[key]:.1f}" for key in ("wall", "start", "generation")]
        say(
            name,
            len(r["episodes"]),
            *seconds,
            r["messages"],
            r["tokens"],
            f"{r['tokens'] / r['generation']:.0f}",
            valid,
        )
    ids = list(official["episodes"])
    differing = [i for i in ids if official["episodes"][i]["texts"] != mine["episodes"][i]["texts"]]
    verdicts = [i for i in ids if official["episodes"][i]["valid"] != mine["episodes"][i]["valid"]]
    ratios = [f"{official[key] / mine[key]:.2f}" for key in ("wall", "start", "generation")]
    say("ratio", "", *ratios, "", "", "", f"{len(ids) - len(verdicts)} of {len(ids)} equal")
    sys.stdout.write(f"\nevery message equal in {len(ids) - len(differing)} of {len(ids)} scenarios\n")
    for name in differing:
        pairs = zip(_flat(official["episodes"][name]), _flat(mine["episodes"][name]), strict=False)
        at, (theirs, our) = next(((i, p) for i, p in enumerate(pairs) if p[0] != p[1]), (-1, ("", "")))
        sys.stdout.write(f"{name}, message {at}:\n  official {theirs!r:.300}\n  ours     {our!r:.300}\n")
    if verdicts:
        sys.stdout.write(f"verdicts differ: {', '.join(verdicts)}\n")


def _flat(episode: dict[str, Any]) -> list[str]:
    return [text for turn in episode["texts"] for text in turn]


def main() -> None:
    """Measure and print, or be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder; the embedded model without it")
    parser.add_argument("--scenarios", type=int, default=20)
    parser.add_argument("--max-tokens", type=int, default=64, help="per message")
    parser.add_argument("--precision", choices=list(DTYPES), default="fp32")
    parser.add_argument("--environment", type=Path, default=cache_dir() / "bfcl-official", help="of the official code")
    parser.add_argument("--server-threads", type=int, default=len(os.sched_getaffinity(0)), help="0: its own choice")
    parser.add_argument("--reports", type=Path, help="also write both reports there")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ours:
        job = json.load(sys.stdin)
        Path(job["report"]).write_text(json.dumps(ours(job)), encoding="utf-8")
        return
    model = (chosen.model or embedded_model()).resolve()
    python = isolated_python(chosen.environment)
    job = {
        "model": str(model),
        "ids": [entry.id for entry in shortest(chosen.scenarios, model)],
        "max_tokens": chosen.max_tokens,
        "precision": chosen.precision,
        "dtype": DTYPES[chosen.precision],
    }
    reports = compare(python, job, chosen.server_threads)
    if chosen.reports:
        chosen.reports.write_text(json.dumps(reports, indent=1), encoding="utf-8")
    table(reports)


if __name__ == "__main__":
    main()
