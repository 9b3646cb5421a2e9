"""What every algorithm of the family must satisfy: masks, padding, order, extremes, declarations, bounds.

Each test fails for a loss that sees padding, masked tokens or the order of a batch, that overflows, that needs what it
does not declare, or whose setting is not bounded.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import FAMILY, SIX, batch, full, learned

from shiqbench.base.errors import ConfigError, RunError
from shiqbench.episodes.episode import Episode, Message
from shiqbench.episodes.rendering import Rendered
from shiqbench.plugin.algorithm import Loss
from shiqbench.plugin.batch import Batch, EpisodeUnit, TokenQ
from shiqbench.plugin.registry import registry
from shiqbench.plugin.validation import validate
from shiqbench.training.layout import make_batch
from shiqbench.training.token_statistics import TokenStatistics
from shiqbench.training.units import make_units

PAGES = Path(__file__).parents[2] / "algorithms" / "shiqbench_algorithms"
NAMES = sorted({name.split()[0] for name in FAMILY})


def value(algorithm: Any, b: Batch) -> torch.Tensor:
    loss: Loss = algorithm.loss(b)
    return loss.numerator_U.detach()


def rearranged(b: Batch, move: Any) -> Batch:
    """Apply ``move`` to every tensor with one row per episode; units stay numbered in order."""
    moved = {k: move(v.detach()) for k, v in vars(b).items() if k[-2:] in ("_E", "EA", "EK") and k != "unit_E"}
    assert b.token_q is not None
    return replace(b, **moved, token_q=TokenQ(*(move(x.detach()) for x in b.token_q)))


# Which tensors carry gradient, beside the two of the policy. Everything else must get none.
MOVES = {
    "dro": {"value_EA"},
    "oreo": {"value_EA"},
    "oreo kl": {"value_EA", "kl_EA"},
    "dqo": {"value_EA"},
    "ilql": {"value_EA", "q_EA", "lse_EA of q"},
}


@pytest.mark.parametrize("name", FAMILY)
def test_the_gradient_is_0_where_masked_and_reaches_what_it_should(name: str) -> None:
    algorithm = FAMILY[name]
    b = full(algorithm)
    algorithm.loss(b).numerator_U.sum().backward()
    assert b.token_q is not None
    tensors = learned(replace(b, token_q=None)) | {"q_EA": b.token_q.q_EA, "lse_EA of q": b.token_q.lse_EA}
    reached = set()
    for key, tensor in tensors.items():
        if tensor.grad is not None:
            assert (tensor.grad[~b.valid_EA] == 0).all()
            if (tensor.grad != 0).any():
                reached.add(key)
    assert reached == {"logit_EA", "lse_EA"} | MOVES.get(name, set())
    assert b.logit_EA.grad is not None
    assert (b.logit_EA.grad[b.valid_EA] != 0).all()


@pytest.mark.parametrize("name", FAMILY)
def test_what_stands_at_masked_positions_is_never_read(name: str) -> None:
    algorithm = FAMILY[name]
    b = full(algorithm)

    def pad(x: torch.Tensor) -> torch.Tensor:
        if x.ndim != 2 or x.shape != b.valid_EA.shape:
            return x
        wide = torch.nn.functional.pad(x, (0, 3))
        inside = torch.nn.functional.pad(b.valid_EA, (0, 3))
        return wide if x.dtype == torch.bool else torch.where(inside, wide, torch.full_like(wide, 7.0))

    padded = rearranged(b, pad)
    torch.testing.assert_close(value(algorithm, padded), value(algorithm, b), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", FAMILY)
def test_the_order_of_units_permutes_the_losses_and_splits_change_nothing(name: str) -> None:
    algorithm = FAMILY[name]
    b, k = full(algorithm), algorithm.group_size
    units = torch.arange(len(SIX) // k).roll(1)
    order = torch.cat([torch.arange(u * k, u * k + k) for u in units.tolist()])
    turned = replace(rearranged(b, lambda x: x[order]), weight_U=b.weight_U[units])
    torch.testing.assert_close(value(algorithm, turned), value(algorithm, b)[units], atol=1e-12, rtol=0)
    alone = replace(rearranged(b, lambda x: x[:k]), unit_E=b.unit_E[:k], weight_U=b.weight_U[:1])
    torch.testing.assert_close(value(algorithm, alone), value(algorithm, b)[:1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["copg of 3", "reinforce of 3", "rebel"])
def test_the_order_inside_a_group_changes_nothing(name: str) -> None:
    algorithm = FAMILY[name]
    b, k = full(algorithm), algorithm.group_size
    order = torch.arange(len(SIX)).reshape(-1, k).flip(-1).flatten()
    torch.testing.assert_close(value(algorithm, rearranged(b, lambda x: x[order])), value(algorithm, b))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nats", [-1e4, 1e4])
@pytest.mark.parametrize("name", FAMILY)
def test_extreme_log_ratios_stay_finite(name: str, nats: float, dtype: torch.dtype) -> None:
    algorithm = FAMILY[name]
    b = full(algorithm)
    logits = b.logit_EA.detach() + nats * torch.tensor([1.0, -1.0, 0.5, 1.0, 1.0, -0.3])[:, None]
    b = replace(b, logit_EA=logits)
    cast: dict[str, Any] = {
        k: v.detach().to(dtype) for k, v in vars(b).items() if isinstance(v, torch.Tensor) and v.is_floating_point()
    }
    assert b.token_q is not None
    b = replace(b, **cast, token_q=TokenQ(*(x.detach().to(dtype) for x in b.token_q)))
    b.logit_EA.requires_grad_()
    loss = algorithm.loss(b)
    loss.numerator_U.sum().backward()
    assert loss.numerator_U.dtype == dtype
    assert torch.isfinite(loss.numerator_U).all()
    assert b.logit_EA.grad is not None
    assert torch.isfinite(b.logit_EA.grad).all()
    assert all(torch.isfinite(m).all() for m in loss.metrics.values())


# Batch fields behind each need; a loss must run on what it declares, and on nothing less.
FIELDS = {
    "values": "value_EA",
    "token_q": "token_q",
    "mismatched": "mismatched_E",
    "best": "best_E",
    "turns": "turn_EA",
    "reference_returns": "reference_return_EK",
    "behaviour_logp": "behaviour_logp_EA",
    "kl": "kl_EA",
}
NEEDS = {
    "kto": {"mismatched"},
    "kto best": {"mismatched", "best"},
    "dmpo": {"turns"},
    "dmpo whole": {"turns"},
    "dro": {"values"},
    "qrpo": {"reference_returns"},
    "qrpo inclusive": {"reference_returns"},
    "reinforce of 3": {"behaviour_logp"},
    "oreo": {"values"},
    "oreo kl": {"values", "kl"},
    "dqo": {"values"},
    "ilql": {"values", "token_q"},
}


@pytest.mark.parametrize("name", FAMILY)
def test_needs_are_exactly_what_the_loss_reads(name: str) -> None:
    algorithm = FAMILY[name]
    assert algorithm.needs == NEEDS.get(name, set())
    b = full(algorithm)
    undeclared: dict[str, Any] = {f: None for need, f in FIELDS.items() if need not in algorithm.needs}
    declared = replace(b, **undeclared)
    torch.testing.assert_close(value(algorithm, declared), value(algorithm, b), atol=0, rtol=0)
    for need in algorithm.needs:
        with pytest.raises(TypeError, match=FIELDS[need]):
            algorithm.loss(replace(b, **{FIELDS[need]: None}))  # type: ignore[arg-type]
    nothing = torch.full_like(b.ref_lse_EA, float("nan"))
    without = value(algorithm, replace(b, ref_lse_EA=nothing, ref_logit_EA=nothing))
    assert torch.isfinite(without).all() != algorithm.uses_reference


def test_claims_units_and_what_is_sampled() -> None:
    claimed = {name: a.temperature for name, a in FAMILY.items() if a.temperature is not None}
    nats = dict.fromkeys(("shiq", "copg", "copg of 3", "dro", "reinforce", "tbrm", "reval"), 0.3)
    assert claimed == nats | {"oreo": 0.3, "dqo": 0.3, "rebel": 1 / 0.7}
    shiq = FAMILY["shiq"]
    assert type(shiq)(type(shiq.config)(beta=0.3, gamma=0.9)).temperature == 0.3  # of the discounted objective
    sizes = {name: a.group_size for name, a in FAMILY.items() if a.unit == "group"}
    assert sizes == {"copg": 2, "copg of 3": 3, "rebel": 2, "reinforce": 2, "reinforce of 3": 3}
    assert {n for n, a in FAMILY.items() if a.unit == "pair"} == {"dpo", "dmpo", "dmpo whole", "ipo", "ipo sums"}
    ilql = FAMILY["ilql"]
    assert (ilql.sampling_q_weight, ilql.target_rate) == (1.0, 0.005)
    assert {n for n, a in FAMILY.items() if a.sampling_q_weight or a.target_rate} == {"ilql"}


REFUSED = {
    "beta": (0, -1, "nan", "inf"),
    "tau": (0, -1, "nan"),
    "eta": (0, -0.5, "inf"),
    "gamma": (0, 1.01, -0.1, "nan"),
    "k": (1, 0, -2, 2.5),
    "alpha": (-0.1, "inf"),
    "importance_clip": (0.9, 0, "inf"),
    "target_rate": (0, 1.5),
    "q_weight": (-1,),
    "cql_weight": (-1,),
    "bc_weight": (-1,),
    "desirable_weight": (0,),
    "undesirable_weight": (-1,),
    "ties": ("max",),
    "pairs": ("some",),
    "threshold": ("nan",),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_out_of_bounds_is_refused_in_one_line(name: str) -> None:
    kind = registry().algorithms[name].load_config()
    tried = [(key, bad) for key, all_bad in REFUSED.items() if key in kind.model_fields for bad in all_bad]
    for key, bad in tried:
        with pytest.raises(ConfigError) as caught:
            validate(kind, {key: bad}, "algo")
        assert f"algo.{key} = " in str(caught.value)
        assert "\n" not in str(caught.value)
    free = {"label_smoothing", "shift", "multi_step", "stop_future", "normalize", "length_average", "accept"}
    assert set(kind.model_fields) - free <= set(REFUSED), "a numeric setting without a test of its bounds"


@pytest.mark.parametrize("name", ["sft", "kto"])
def test_a_threshold_that_would_be_ignored_is_refused(name: str) -> None:
    kind = registry().algorithms[name].load_config()
    with pytest.raises(ConfigError, match=r"threshold = 0\.3 needs accept = threshold"):
        validate(kind, {"accept": "best", "threshold": 0.3}, "algo")
    assert validate(kind, {"accept": "threshold", "threshold": 0.3}, "algo").threshold == 0.3


def test_every_page_is_registered_states_its_loss_and_imports_no_torch() -> None:
    pages = {p.stem for p in PAGES.glob("*.py")} - {"__init__", "acceptance", "pairs"}
    assert pages == set(NAMES) | {"base"}
    for page in pages:
        text = (PAGES / f"{page}.py").read_text()
        docs = text.split('"""')[1]
        assert docs.startswith(f"{page}: ")
        assert "$$" in docs
        assert page in ("base", "sft") or "arXiv" in docs
    imports = "; ".join(f"import shiqbench_algorithms.{p}" for p in sorted(pages))
    subprocess.run([sys.executable, "-c", f"import sys; {imports}; assert 'torch' not in sys.modules"], check=True)


def episode(name: str, group: str, reward: float) -> Episode:
    return Episode(name, group, "test", (Message("assistant", "x", action=True, reward=reward),))


EPISODES = [episode("a", "1", 0.2), episode("b", "1", 0.9), episode("c", "2", -1.0), episode("d", "2", -1.0)]


def test_kto_refuses_data_without_contrast() -> None:
    kto = FAMILY["kto"]
    assert kto.select(EPISODES) == EPISODES
    with pytest.raises(ConfigError, match="0 of 2 are good"):
        kto.select(EPISODES[2:])
    with pytest.raises(ConfigError, match="1 of 1 are good"):
        kto.select(EPISODES[:1])
    with pytest.raises(ConfigError, match="2 of 2 are good"):
        FAMILY["kto best"].select(EPISODES[2:])


def test_the_best_of_a_group_reaches_the_batch() -> None:
    units = make_units(FAMILY["kto best"], EPISODES)
    assert [u.best for u in units] == [(False,), (True,), (True,), (True,)]
    pairs = make_units(FAMILY["dpo"], EPISODES)
    assert [(u.rows, u.best) for u in pairs] == [((1, 0), (True, False))]
    rendered = [Rendered(e, (), (e.total_reward,), None) for e in EPISODES]
    one = [TokenStatistics(torch.zeros(1), torch.ones(1))] * 4
    b = make_batch(units, rendered, one, one)
    assert b.best_E is not None
    assert b.best_E.tolist() == [False, True, True, True]
    assert make_batch([EpisodeUnit((0,))], rendered, one[:1], one[:1]).best_E is None


def test_qrpo_refuses_a_prompt_with_one_reference_completion() -> None:
    references = torch.tensor([[0.0, float("nan")]] * 4, dtype=torch.float64)
    with pytest.raises(RunError, match="two scored completions"):
        FAMILY["qrpo"].loss(batch(reference_return_EK=references))
