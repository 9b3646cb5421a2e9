"""``auto`` is resolved when a cell is planned, so hardware never changes what a cell means."""

from __future__ import annotations

from typing import Any

import pytest

from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import Request, RunPlan
from shiqbench.plugin import config
from shiqbench.rewards.config import BradleyTerryConfig, ClassifierConfig


def planned(monkeypatch: pytest.MonkeyPatch, *, slow: bool, gpu: bool, **settings: Any) -> RunPlan:
    monkeypatch.setattr(config, "bf16_is_slow", lambda: slow)
    monkeypatch.setattr(config, "has_gpu", lambda: gpu)
    return make_plan(Request("shiq", "bfcl_v3", settings={k.replace("_", "."): v for k, v in settings.items()}))


@pytest.mark.parametrize(
    ("slow", "gpu", "expected"),
    [(False, False, "bf16"), (True, False, "fp32"), (True, True, "bf16"), (False, True, "bf16")],
)
def test_auto_is_what_the_machine_computes_fast(
    monkeypatch: pytest.MonkeyPatch, slow: bool, gpu: bool, expected: str
) -> None:
    asked = {"train_precision": "auto", "eval_precision": "auto", "start.train_precision": "auto"}
    plan = planned(monkeypatch, slow=slow, gpu=gpu, **asked)
    named = planned(monkeypatch, slow=False, gpu=False, **dict.fromkeys(asked, expected))
    assert plan.cell.start is not None
    assert plan.cell.train is not None
    assert [s["precision"] for s in (plan.cell.recipe["train"], plan.eval_recipe(plan.cell)["eval"])] == [expected] * 2
    assert plan.cell.recipe == named.cell.recipe
    assert plan.cell.digest == named.cell.digest
    assert plan.setting == named.setting
    assert "auto" not in str(plan.cell.recipe)


def test_a_precision_that_is_named_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(monkeypatch, slow=True, gpu=False, train_precision="bf16")
    assert plan.cell.train is not None
    assert plan.cell.train.precision == "bf16"


@pytest.mark.parametrize(
    ("slow", "gpu", "expected"), [(False, False, "bf16"), (True, False, "fp32"), (True, True, "bf16")]
)
def test_a_reward_model_that_is_trained_here_is_computed_as_the_machine_does_it_fast(
    monkeypatch: pytest.MonkeyPatch, slow: bool, gpu: bool, expected: str
) -> None:
    monkeypatch.setattr(config, "bf16_is_slow", lambda: slow)
    monkeypatch.setattr(config, "has_gpu", lambda: gpu)
    assert BradleyTerryConfig().precision == expected
    assert BradleyTerryConfig().deciding()["precision"] == expected
    assert BradleyTerryConfig(precision="bf16").precision == "bf16"
    assert ClassifierConfig(precision="auto").precision == expected  # type: ignore[arg-type]
