"""The kit passes every algorithm that keeps the contract, and refuses each that breaks a line of it, by that line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from shiqbench.plugin.algorithm import Need
from shiqbench.plugin.registry import registry
from shiqbench.testing import check_algorithm
from shiqbench.testing.batches import FIELDS
from shiqbench.testing.contract import AlgorithmContract as Line

BROKEN = Path(__file__).parent / "broken_algorithms.py"
# Settings beside the defaults that change what an algorithm needs, states or claims.
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("dpo", {"label_smoothing": 0.2}),
    ("sft", {"normalize": "sequence"}),
    ("shiq", {"multi_step": False, "stop_future": True, "gamma": 0.9}),
    ("shiq", {"shift": False, "normalize": "token"}),
    ("ipo", {"length_average": False}),
    ("kto", {"accept": "best", "threshold": 0.0}),
    ("copg", {"k": 3}),
    ("reinforce", {"k": 3, "importance_clip": 2.0}),
    ("oreo", {"alpha": 0.1}),
    ("qrpo", {"ties": "inclusive"}),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(registry().algorithms))
def test_every_built_in_algorithm_keeps_the_contract(name: str) -> None:
    report = check_algorithm(name)
    assert set(report.held) | set(report.skipped) == set(Line)
    assert not set(report.held) & set(report.skipped)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "config"), VARIANTS, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_so_does_it_with_other_settings(name: str, config: dict[str, Any]) -> None:
    report = check_algorithm(name, config)
    assert Line.FINITE in report.held


def test_what_does_not_apply_is_said() -> None:
    report = check_algorithm("base")
    assert report.skipped[Line.FINITE] == "it trains nothing"
    assert "not applicable: loss and gradient are finite" in str(report)
    assert check_algorithm("dpo").skipped[Line.OPTIMUM] == "it claims no optimum"


@pytest.mark.parametrize("name", ["Sound", "Group"])
def test_a_sound_plugin_passes(name: str) -> None:
    assert {Line.LIGHT, Line.RESUME} <= set(check_algorithm(name, plugins=(BROKEN,)).held)


@pytest.mark.parametrize(
    ("name", "line", "found"),
    [
        ("no_config", Line.CONFIG, "is not a subclass of AlgorithmConfig"),
        ("thawed", Line.CONFIG, "fields can be assigned to"),
        ("lax", Line.CONFIG, "an unknown key is accepted"),
        ("lossy", Line.CONFIG, r"scale=0\.1\) came back as .*scale=0\.0"),
        ("not_an_algorithm", Line.STATEMENTS, "NotAnAlgorithm is not an Algorithm"),
        ("nowhere", Line.STATEMENTS, "cannot load .*:Nowhere"),
        ("UnknownUnit", Line.STATEMENTS, "unit 'row'"),
        ("UnknownNeed", Line.STATEMENTS, r"needs \['luck'\]"),
        ("NegativeTemperature", Line.STATEMENTS, "temperature -1.0"),
        ("QWithoutNeed", Line.STATEMENTS, "sampling_q_weight 1.0 without the need token_q"),
        ("ReadsUndeclared", Line.LOSS, "the batch has no value_EA"),
        ("PerRow", Line.SHAPES, r"numerator_U of shape \(4,\) for 2 units"),
        ("NotFinite", Line.SHAPES, "numerator_U = .*nan"),
        ("DoublePrecision", Line.DTYPE, "numerator_U in torch.float64 for a batch in torch.float32"),
        ("SinglePrecision", Line.DTYPE, "denominator_U in torch.float32 for a batch in torch.float64"),
        ("OtherDevice", Line.DEVICE, "meta"),
        ("DenominatorWithGradient", Line.DENOMINATORS, "a denominator with a gradient"),
        ("NegativeDenominator", Line.DENOMINATORS, r"denominators \[-"),
        ("MetricWithGradient", Line.METRICS, "metric residual with a gradient"),
        ("MetricOfTheTrainer", Line.METRICS, "metric lr, which the trainer logs itself"),
        ("MetricSometimes", Line.METRICS, r"metrics \['residual'\], before \[\]"),
        ("Leaks", Line.MASKED, r"gradient \d.* in logit_EA beyond a row's action tokens"),
        ("FirstTokenOnly", Line.REACHED, r"no gradient at \d+ of \d+ action tokens"),
        ("Detached", Line.REACHED, "numerators without a gradient"),
        ("IdleNeed", Line.NEEDED, "does not depend on value_EA, but values is needed"),
        ("IdleReference", Line.REFERENCE, "set uses_reference = False"),
        ("SecretReference", Line.REFERENCE, "the loss reads them, but uses_reference is False"),
        ("PaddingDependent", Line.PADDING, r"numerator_U \[.*\] with 5 more columns, \[.*\] expected"),
        ("OrderDependent", Line.ORDER, "with units in reverse"),
        ("GroupOrderDependent", Line.ORDER, "with every group in reverse"),
        ("BatchBaseline", Line.SPLIT, "for a batch of one unit"),
        ("Unweighted", Line.WEIGHT, "with weights doubled"),
        ("Overflowing", Line.FINITE, r"numerators \[.*inf.*\] at log-ratios near \+10000 per token"),
        ("OverflowingGradient", Line.FINITE, r"\d+ gradients in logit_EA not finite"),
        ("Noisy", Line.PURE, r"numerators \[.*\], again \["),
        ("Dropout", Line.PURE, "a random state has moved"),
        ("Counting", Line.PURE, r"numerators \[.*\], again \["),
        ("InPlace", Line.PURE, "reward_EA of the batch was changed in place"),
        ("WrongStart", Line.AT_REFERENCE, r"stated 0\.693147181"),
        ("SelectsNothing", Line.SELECT, "none of 24"),
        ("SelectsAtRandom", Line.SELECT, "5 episodes, then 5"),
        ("Forgetful", Line.RESUME, r"weights \w{12} undisturbed, \w{12} after an interruption"),
        ("ClaimsTooMuch", Line.OPTIMUM, r"relative regret .* at temperature 0\.5, at most 0\.001 allowed"),
    ],
)
def test_a_broken_algorithm_is_refused_by_the_line_it_breaks(
    name: str, line: Line, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All are in one file, and the check of its imports, which starts a process, is part of test_a_sound_plugin_passes.
    monkeypatch.setattr("shiqbench.testing.algorithms.check_light", lambda report, line, files: None)
    with pytest.raises(AssertionError) as caught:
        check_algorithm(name, plugins=(BROKEN,))
    message = str(caught.value)
    assert message.startswith(f"algorithm {name} breaks its contract: {line}; found: ")
    assert re.search(found, message, re.DOTALL), message


def test_a_plugin_whose_listing_imports_torch_is_refused(tmp_path: Path) -> None:
    heavy = tmp_path / "heavy.py"
    heavy.write_text(BROKEN.read_text().replace("import math\n", "import math\nimport torch\n", 1))
    with pytest.raises(AssertionError, match=r"imports neither torch nor numpy nor pandas; found: .*torch"):
        check_algorithm("Sound", plugins=(heavy,))


def test_batches_have_a_field_for_every_need() -> None:
    assert set(FIELDS) == set(get_args(Need))
