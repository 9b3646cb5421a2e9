"""Two processes train what one does: gradients, heads, and the mean over mismatched completions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import TOY

SCRIPT = TOY.parent / "distributed.py"


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["critic", "contrast"])
def test_two_processes_equal_one(tiny_model: Path, tmp_path: Path, algorithm: str) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [str(SCRIPT), algorithm, str(tiny_model), str(tmp_path)]
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    subprocess.run([*launch, *arguments], check=True, capture_output=True)
    alone, *two = [torch.load(tmp_path / name / "result.pt") for name in ("alone", "0", "1")]
    for each in two:
        for name, x in alone["weights"].items():
            torch.testing.assert_close(each["weights"][name], x, atol=1e-12, rtol=0)
        for a, b in zip(alone["lines"], each["lines"], strict=True):
            assert a == pytest.approx(b, rel=1e-9, abs=1e-12)
