"""What must not change training, in fp64 on the CPU: how it is split, laid out, cached, interrupted, or offset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from shiqbench_algorithms.dpo import Dpo, DpoConfig
from shiqbench_algorithms.sft import Sft, SftConfig
from shiqbench_algorithms.shiq import Shiq, ShiqConfig
from tiny_training import Lines, needy, trainer, weights

from shiqbench.episodes.rendering import Rendered, TokenSequence
from shiqbench.training.loop import Trainer
from shiqbench.training.policy import Policy, row_statistics
from shiqbench.training.token_statistics import TokenStatistics

MEANS: tuple[Literal["sequence", "token"], ...] = ("sequence", "token")
NORMALISATIONS: tuple[Literal["sum", "sequence", "token"], ...] = ("sum", *MEANS)
ALGORITHMS: dict[str, Any] = {
    **{f"shiq-{n}": Shiq(ShiqConfig(beta=0.1, normalize=n)) for n in NORMALISATIONS},
    **{f"critic-{n}": needy("critic", normalize=n) for n in NORMALISATIONS},
    **{f"sft-{n}": Sft(SftConfig(normalize=n)) for n in MEANS},
    "dpo": Dpo(DpoConfig()),
    "contrast": needy("contrast"),
}


def trained(t: Trainer) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    before, seen = weights(t), Lines()
    t.run(seen)
    after = weights(t)
    assert any(not torch.equal(after[k], before[k]) for k in after if not k.startswith("heads."))
    return after, seen.lines


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], atol: float = 1e-10) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=atol, rtol=0, msg=f"{name}: {{}}".format)


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[k] - b[k]).abs().max()) for k in a)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_accumulation_one_times_eight_equals_eight_times_one(tiny_model: Path, tmp_path: Path, name: str) -> None:
    settings: dict[str, Any] = {"double": True, "batch_episodes": 8, "updates": 2}
    whole = trainer(tiny_model, tmp_path / "a", ALGORITHMS[name], micro_tokens=100_000, **settings)
    split = trainer(tiny_model, tmp_path / "b", ALGORITHMS[name], micro_tokens=1, plan=whole.plan, **settings)
    assert len(list(whole._micro_batches(whole.plan.batches[0]))) == 1
    assert len(list(split._micro_batches(whole.plan.batches[0]))) == len(whole.plan.batches[0])
    (a, lines), (b, other) = trained(whole), trained(split)
    assert_same(a, b)
    for x, y in zip(lines, other, strict=True):
        # Before the first step the policy is its reference: each margin is zero but for rounding, which has any sign.
        free = {"seconds", "accuracy"} if x["update"] == 1 else {"seconds"}
        assert {k: v for k, v in x.items() if k not in free} == pytest.approx(
            {k: v for k, v in y.items() if k not in free}, rel=1e-9, abs=1e-12
        )


@pytest.mark.parametrize("name", ["shiq-sequence", "critic-token", "contrast"])
def test_padded_shared_prefix_and_one_by_one_are_the_same(tiny_model: Path, tmp_path: Path, name: str) -> None:
    algorithm = ALGORITHMS[name]
    settings: dict[str, Any] = {"double": True, "batch_episodes": 6, "updates": 2}
    shared = trainer(tiny_model, tmp_path / "s", algorithm, share_prefix=True, micro_tokens=4096, **settings)
    a, _ = trained(shared)
    for layout, micro_tokens in (("padded", 4096), ("one by one", 1)):
        other = trainer(
            tiny_model,
            tmp_path / layout,
            algorithm,
            share_prefix=False,
            micro_tokens=micro_tokens,
            plan=shared.plan,
            **settings,
        )
        b, _ = trained(other)
        assert_same(a, b)


@pytest.mark.parametrize("name", ["shiq-sequence", "dpo", "contrast"])
def test_the_cached_reference_is_the_reference_itself(tiny_model: Path, tmp_path: Path, name: str) -> None:
    cached = trainer(tiny_model, tmp_path / "a", ALGORITHMS[name], double=True, updates=3)
    online = trainer(tiny_model, tmp_path / "b", ALGORITHMS[name], double=True, updates=3)
    frozen = trainer(tiny_model, tmp_path / "c", ALGORITHMS[name], double=True).policy

    def computed(rendered: Rendered) -> TokenStatistics:
        with torch.no_grad():
            return row_statistics(frozen, [rendered])[0]

    online.reference = computed
    assert_same(trained(cached)[0], trained(online)[0])


@pytest.mark.slow
@pytest.mark.parametrize("lora_rank", [0, 2])
@pytest.mark.parametrize("name", ["critic-token", "contrast"])
def test_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    tiny_model: Path, tmp_path: Path, name: str, lora_rank: int
) -> None:
    settings: dict[str, Any] = {"double": True, "updates": 4, "lora_rank": lora_rank}
    undisturbed, _ = trained(trainer(tiny_model, tmp_path / "a", ALGORITHMS[name], **settings))
    first = trainer(tiny_model, tmp_path / "b", ALGORITHMS[name], **settings)
    with pytest.raises(KeyboardInterrupt):
        first.run(Lines(stop_after=3))
    resumed = trainer(tiny_model, tmp_path / "b", ALGORITHMS[name], **settings)
    assert resumed.done == 2
    after, _ = trained(resumed)
    assert all(torch.equal(undisturbed[k], after[k]) for k in undisturbed)
    if name.startswith("critic"):
        assert {"heads.value.weight", "heads.value.bias", "heads.q.weight", "heads.target_VD"} <= after.keys()
        assert all(after[k].abs().max() > 0 for k in after if k.startswith("heads."))


class Offset(Policy):
    """Adds to all logits of a state a constant that depends on the state alone."""

    def forward(self, sequences: Sequence[TokenSequence], *args: Any, **options: Any) -> list[TokenStatistics]:
        found = super().forward(sequences, *args, **options)
        constants = [torch.tensor([sum(s.ids[:p]) * 37 % 101 / 10 - 5.0 for p in s.actions]) for s in sequences]
        return [f._replace(logit_N=f.logit_N + c, lse_N=f.lse_N + c) for f, c in zip(found, constants, strict=True)]


@pytest.mark.parametrize("settings", [{}, {"multi_step": False}, {"stop_future": True, "gamma": 0.9}])
def test_a_constant_per_state_of_both_models_changes_nothing_under_the_shift(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    def final(name: str, policy_class: type[Policy], **switches: Any) -> dict[str, torch.Tensor]:
        algorithm = Shiq(ShiqConfig(beta=0.1, **switches))
        t = trainer(tiny_model, tmp_path / name, algorithm, double=True, updates=3, policy_class=policy_class)
        return trained(t)[0]

    assert_same(final("plain", Policy, **settings), final("offset", Offset, **settings), atol=1e-9)
    unshifted = {**settings, "shift": False}
    assert difference(final("plain without", Policy, **unshifted), final("offset without", Offset, **unshifted)) > 1e-4
