"""The estimators against the exact KL of whole sequences, every sequence enumerated."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from shiqbench.stats.intervals import student_ratio
from shiqbench.stats.kl import k1, k3

VOCABULARY, HORIZON, END = 4, 3, 0  # token 0 ends a sequence, so lengths differ
Table = dict[tuple[int, ...], list[float]]


def table(seed: int, spread: float) -> Table:
    """Log-probabilities of the next token after every prefix."""
    rng = random.Random(seed)
    found: Table = {}
    for length in range(HORIZON):
        for prefix in itertools.product(range(1, VOCABULARY), repeat=length):
            logits = [rng.gauss(0, spread) for _ in range(VOCABULARY)]
            lse = math.log(math.fsum(map(math.exp, logits)))
            found[prefix] = [x - lse for x in logits]
    return found


def mixed(policy: Table, other: Table, share: float) -> Table:
    """A policy near another."""
    found = {}
    for prefix, logps in policy.items():
        logits = [(1 - share) * a + share * b for a, b in zip(logps, other[prefix], strict=True)]
        lse = math.log(math.fsum(map(math.exp, logits)))
        found[prefix] = [x - lse for x in logits]
    return found


def sequences() -> list[tuple[int, ...]]:
    """All that end with END or at the horizon."""
    found = []
    for length in range(1, HORIZON + 1):
        for body in itertools.product(range(1, VOCABULARY), repeat=length - 1):
            lasts = range(VOCABULARY) if length == HORIZON else (END,)
            found += [(*body, last) for last in lasts]
    return found


def logps(of: Table, sequence: tuple[int, ...]) -> list[float]:
    return [of[sequence[:t]][token] for t, token in enumerate(sequence)]


def moments(values: dict[tuple[int, ...], float], policy: Table) -> tuple[float, float]:
    """Exact mean and variance under the policy."""
    weights = {s: math.exp(math.fsum(logps(policy, s))) for s in values}
    assert math.fsum(weights.values()) == pytest.approx(1, abs=1e-12)
    mean = math.fsum(weights[s] * v for s, v in values.items())
    return mean, math.fsum(weights[s] * (v - mean) ** 2 for s, v in values.items())


def exact_kl(policy: Table, reference: Table) -> float:
    """From the probabilities of whole sequences, by no estimator."""
    total = 0.0
    for s in sequences():
        p, q = math.prod(map(math.exp, logps(policy, s))), math.prod(map(math.exp, logps(reference, s)))
        total += p * math.log(p / q)
    return total


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.3, 1.5])
def test_both_estimators_have_the_exact_kl_as_their_mean(seed: int, spread: float) -> None:
    policy, reference = table(seed, spread), table(seed + 100, spread)
    wanted = exact_kl(policy, reference)
    assert wanted > 0.01
    for estimate in (k1, k3):
        values = {s: estimate(logps(policy, s), logps(reference, s)) for s in sequences()}
        mean, _ = moments(values, policy)
        assert mean == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_k3_varies_less_than_k1_near_the_reference_and_is_never_negative(seed: int) -> None:
    reference = table(seed, 1.0)
    policy = mixed(reference, table(seed + 100, 1.0), share=0.3)
    one = {s: k1(logps(policy, s), logps(reference, s)) for s in sequences()}
    three = {s: k3(logps(policy, s), logps(reference, s)) for s in sequences()}
    assert moments(three, policy)[1] < moments(one, policy)[1] / 5
    assert min(three.values()) >= 0
    assert min(one.values()) < 0


def test_the_ratio_of_whole_sequences_would_vary_more_than_the_sum_over_tokens() -> None:
    policy, reference = table(1, 1.0), table(2, 1.0)

    def whole(s: tuple[int, ...]) -> float:
        d = k1(logps(policy, s), logps(reference, s))
        return math.expm1(-d) + d

    summed = {s: k3(logps(policy, s), logps(reference, s)) for s in sequences()}
    assert moments(summed, policy)[1] < moments({s: whole(s) for s in sequences()}, policy)[1]


def test_a_policy_is_no_distance_from_itself() -> None:
    policy = table(0, 1.0)
    for s in sequences():
        assert k1(logps(policy, s), logps(policy, s)) == k3(logps(policy, s), logps(policy, s)) == 0


def test_the_two_must_be_of_one_sequence() -> None:
    for estimate in (k1, k3):
        with pytest.raises(ValueError, match="shorter"):
            estimate([-1.0, -2.0], [-1.0])


def test_the_interval_of_nats_per_token_covers_the_ratio_as_often_as_it_says() -> None:
    rng = random.Random(0)
    covered, trials = 0, 400
    for _ in range(trials):
        lengths = [rng.randint(5, 50) for _ in range(40)]
        nats = [0.2 * n + rng.gauss(0, 0.1 * n) for n in lengths]
        low, high = student_ratio(nats, lengths)
        covered += low <= 0.2 <= high
    assert 0.92 <= covered / trials <= 0.98


def test_a_ratio_of_constant_weights_has_the_interval_of_a_mean() -> None:
    from shiqbench.stats.intervals import student

    values = [1.0, 4.0, 2.0, 8.0]
    assert student_ratio(values, [2.0] * 4) == pytest.approx([x / 2 for x in student(values)])
    with pytest.raises(ValueError, match="the weights have no positive sum"):
        student_ratio([0.0, 0.0], [0.0, 0.0])
