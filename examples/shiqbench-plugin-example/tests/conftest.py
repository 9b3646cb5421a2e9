"""Hand-made data in the form of the recorded solutions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

WHO = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
SHARED = Path(__file__).parents[4] / "shared" / "data" / "gsm8k"


def row(number: int) -> dict[str, object]:
    """Problem ``number``: double it; the last two models are right."""
    texts = {
        WHO[0]: (f"Half of {number} is <<{number}/2={number / 2}>>{number / 2}\nA: 1", False),
        WHO[1]: ("I give up.", False),
        WHO[2]: (f"{number} + {number} = <<{number}+{number}={2 * number}>>{2 * number}\nA: {2 * number}", True),
        WHO[3]: (f"{2 * number} is twice.\nA: {2 * number:,}.0", True),
    }
    return {
        "question": f"What is twice {number}?",
        "ground_truth": f"It is <<2*{number}={2 * number}>>{2 * number}.\nA: {2 * number:,}",
        **{who: {"is_correct": right, "solution": text} for who, (text, right) in texts.items()},
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with sixty problems."""
    folder = tmp_path / "data"
    folder.mkdir()
    lines = [json.dumps(row(1000 + i)) for i in range(60)]
    (folder / "example_model_solutions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def recorded() -> Path:
    """The folder of the real data."""
    if not (SHARED / "example_model_solutions.jsonl").is_file():
        pytest.skip("the recorded solutions of GSM8K are not at hand")
    return SHARED
