"""Made-up results with all that a page shows: conversations, answers, an unknown task, hostile text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from made_up import cell, evaluation

OWNED = "document.title='owned'"
HOSTILE = f'</script><script>{OWNED}</script><img src=x onerror="{OWNED}"> & <b>bold</b> \u2028 {{{{ 7*7 }}}}'
EXAMPLES = 12
STANDING = {  # what the task says about its reward model
    f"reward_{name}": 1.0 for name in ("accuracy", "accuracy_low", "accuracy_high", "accuracy_pairs", "meaningless")
} | {"length_accuracy": 1.0}


def conversation(number: int, litres: int) -> str:
    """A dialogue of two turns with a call and the tool's answer."""
    said = [
        ("system", f"Answer with calls. {HOSTILE}"),
        ("user", f"Please fill the tank of car {number}."),
        ("assistant", f"[fillFuelTank(fuelAmount={litres})]"),
        ("tool", json.dumps({"fuelLevel": litres + 2.0})),
        ("user", "Thank you, and now start it."),
        ("assistant", f"[] {HOSTILE}"),
    ]
    return json.dumps([{"role": r, "content": c, "token_ids": [1, 2, 3]} for r, c in said])


def bfcl(of: Path, right: list[int], litres: int, count: int = EXAMPLES) -> None:
    turns = [[r > 0, r > 1] for r in right]
    evaluation(
        of,
        [r / 2 for r in right],
        task="bfcl_v3",
        metric="turn_accuracy",
        higher=True,
        engine=f"engine {HOSTILE}",
        split="test",
        records={
            "id": [f"multi_turn_{i}" for i in range(count)],
            "scenario": list(range(count)),
            "right_turns": right,
            "counted_turns": [2] * count,
            "valid": [r == 2 for r in right],
            "stop": ["finished"] * count,
            "turns": [json.dumps(t) for t in turns],
            "steps": [json.dumps([[[["fillFuelTank", [], {"fuelAmount": litres}]]], []])] * count,
            "transcript": [conversation(i, litres) for i in range(count)],
        },
    )


def make_results(folder: Path) -> Path:
    """Write the results and return their folder."""
    for name, seeds, litres in (("base", [None], 5), ("sft", [0, 1], 10), ("dpo", [0], 20)):
        for seed in seeds:
            of = cell(folder, name, seed, task="bfcl_v3", config={"note": HOSTILE})
            bfcl(of, [(i + litres) % 3 if name != "base" else 0 for i in range(EXAMPLES)], litres)
    bfcl(cell(folder, "dpo", 0, task="bfcl_v3", config={"note": "plain"}), [2] * EXAMPLES, 20)
    uf: dict[str, Any] = {"task": "ultrafeedback", "metric": "reward", "higher": True, "engine": "e", "split": "test"}
    for name, answer in (("base", "A short answer."), ("sft", "A much longer answer.")):
        records: dict[str, Any] = {
            "prompt": [json.dumps([["user", f"Question {i}?"]]) for i in range(EXAMPLES)],
            "answer": [answer] * EXAMPLES,
            "stop": ["finished"] * EXAMPLES,
            "judged_base": [0.5] * EXAMPLES,
            "sample_ids": ["[1, 2]"] * EXAMPLES,
            "k3": [0.0 if name == "base" else 1.0] * EXAMPLES,
        }
        of = cell(folder, name, task="ultrafeedback")
        evaluation(of, [len(answer) + i / 10 for i in range(EXAMPLES)], records=records, metrics=STANDING, **uf)
    for name in ("base", "shiq"):
        evaluation(cell(folder, name, task="toys"), [0.25 * (name == "base") + i for i in range(EXAMPLES)], task="toys")
    return folder
