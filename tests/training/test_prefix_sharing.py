"""Shared prefixes: the same statistics and gradients as separate passes, from fewer tokens."""

from __future__ import annotations

import random
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.masking_utils import causal_mask_function

from shiqbench.episodes.rendering import TokenSequence
from shiqbench.plugin.config import TrainConfig
from shiqbench.training import prefix_sharing
from shiqbench.training.policy import Policy, fits_one_pass, forward_passes, load_model
from shiqbench.training.prefix_sharing import _visible, common_prefix, distinct_tokens, merge

ids = st.lists(st.integers(0, 2), min_size=1, max_size=8)


@given(st.lists(ids, min_size=1, max_size=6), st.integers(1, 20))
@settings(deadline=None)
def test_each_path_spells_its_sequence_and_sees_only_its_ancestors(sequences: list[list[int]], largest: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_sharing, "BLOCK", largest)
        trie = merge(sequences)
    assert all(len(b.segments) == 1 or b.end - b.start <= largest for b in trie.blocks)
    assert (
        len(trie.ids)
        == distinct_tokens(sequences)
        == len({tuple(s[: i + 1]) for s in sequences for i in range(len(s))})
    )
    for sequence, nodes in zip(sequences, trie.nodes, strict=True):
        assert [trie.ids[n] for n in nodes] == sequence
        assert [trie.positions[n] for n in nodes] == list(range(len(sequence)))
        for depth, node in enumerate(nodes):
            (block,) = [b for b in trie.blocks if b.start <= node < b.end]
            near = [n for a, b in block.runs for n in range(a, b)]
            starts = [0, *accumulate(trie.pieces)]
            assert near == [n for i in trie.pieces_of(block) for n in range(starts[i], starts[i + 1])]
            mask = _visible(trie, block, causal_mask_function, torch.device("cpu"))
            row = (
                torch.ones(len(near), len(near)).tril()[node - block.start]
                if mask is None
                else mask[node - block.start]
            )
            assert [n for n, sees in zip(near, row.tolist(), strict=True) if sees] == list(nodes[: depth + 1])


@given(ids, ids)
def test_common_prefix(a: list[int], b: list[int]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


def sequences(seed: int = 0) -> list[TokenSequence]:
    rng = random.Random(seed)
    prompt = [rng.randrange(3, 259) for _ in range(40)]
    found = []
    for length in (10, 25, 17, 30):
        tail = [rng.randrange(3, 259) for _ in range(length)]
        found.append(TokenSequence((*prompt, *tail), tuple(range(44, 40 + length))))
    found.append(TokenSequence((*found[0].ids[:45], 7, 8, 9), (46, 47)))
    return found


def statistics_and_gradient(folder: Path, **settings_: object) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    config = TrainConfig.model_validate({"precision": "fp32", **settings_})
    policy = Policy(load_model(folder, config), config)
    found = policy(sequences())
    sum((s.logit_N - s.lse_N).square().sum() for s in found).backward()
    gradients = [p.grad for p in policy.parameters() if p.grad is not None]
    return [torch.stack([s.logit_N, s.lse_N]).detach() for s in found], gradients


@pytest.mark.parametrize(
    "other",
    [
        {"share_prefix": True, "micro_tokens": 4096},
        {"share_prefix": True, "micro_tokens": 80},
        {"share_prefix": False, "micro_tokens": 4096},
        {"share_prefix": True, "micro_tokens": 4096, "checkpointing": True},
    ],
)
def test_shared_padded_and_one_by_one_agree(tiny_model: Path, other: dict[str, object]) -> None:
    one_by_one = statistics_and_gradient(tiny_model, share_prefix=False, micro_tokens=1)
    tested = statistics_and_gradient(tiny_model, **other)
    for a, b in zip([*one_by_one[0], *one_by_one[1]], [*tested[0], *tested[1]], strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)


def test_passes_respect_the_bound_and_cover_everything() -> None:
    for share in (True, False):
        config = TrainConfig(micro_tokens=90, share_prefix=share)
        passes = forward_passes(sequences(), config)
        assert sorted(i for p in passes for i in p) == [0, 1, 2, 3, 4]
        for members in passes:
            held = [sequences()[i].ids for i in members]
            tokens = distinct_tokens(held) if share else len(held) * max(map(len, held))
            assert tokens <= 90 or len(held) == 1
    assert len(forward_passes(sequences(), TrainConfig(micro_tokens=130))) == 1


@given(st.lists(ids, min_size=1, max_size=7), st.integers(1, 30), st.booleans())
@settings(deadline=None)
def test_what_fits_is_one_pass_and_no_more(texts: list[list[int]], micro_tokens: int, share: bool) -> None:
    config = TrainConfig(micro_tokens=micro_tokens, share_prefix=share)
    members = [TokenSequence(tuple(t), ()) for t in texts]
    assert fits_one_pass(members, config) == (len(forward_passes(members, config)) == 1)
