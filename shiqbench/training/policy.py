"""The language model under training: loading, precision, adapters, and statistics of episodes."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from shiqbench.base.clock import Clock
from shiqbench.base.errors import ConfigError
from shiqbench.episodes.rendering import TokenSequence
from shiqbench.models.loading import refusing
from shiqbench.training.base_weights import load_base
from shiqbench.training.heads import heads_for
from shiqbench.training.logits import body_of, logits
from shiqbench.training.prefix_sharing import distinct_tokens, enable, merge, trie_inputs
from shiqbench.training.sharding import anchor, copied
from shiqbench.training.token_statistics import TokenStatistics, token_statistics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from torch import Tensor

    from shiqbench.episodes.rendering import Rendered
    from shiqbench.plugin.algorithm import Need
    from shiqbench.plugin.config import BaseWeights, TrainConfig
    from shiqbench.training.frozen_layers import FrozenOutputs


IDLE = TokenSequence((0, 0), (1,))  # what a process computes while others have more passes than it
SHARDS = "FSDP"


def pretrained(folder: Path, base: BaseWeights = "fp32") -> torch.nn.Module:
    """The model of a folder in the transformers format.

    Args:
        folder: Model folder.
        base: Type of the weights; other than fp32 only for LoRA, which leaves them as they are.

    Raises:
        ConfigError: The folder contains no causal language model.
    """
    with refusing(folder):
        model: torch.nn.Module = load_base(folder, base)
    return model


def load_model(folder: Path, config: TrainConfig, seed: int = 0) -> torch.nn.Module:
    """Load the model of a folder and prepare it for training."""
    return trainable(pretrained(folder, config.base_weights), config, seed)


def trainable(model: torch.nn.Module, config: TrainConfig, seed: int = 0) -> torch.nn.Module:
    """Prepare a model: LoRA and checkpointing as configured.

    Mixed precision (bf16) is applied around the forward pass, so the weights that the optimizer
    changes stay fp32.

    Args:
        model: Model from :func:`pretrained`; this function changes it.
        config: Settings of adapter, checkpointing and shared prefixes.
        seed: Seed of new LoRA weights, so that they do not depend on what ran before in this process.

    Raises:
        ConfigError: The model has fewer layers than should be trained.
    """
    if config.share_prefix:
        enable(model)
    if config.checkpointing:
        recompute_layers(model)
    layers = _top_layers(model, config.top_layers)
    if config.lora_rank:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(seed)
        lora = LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            target_modules=linear_names(model),
            layers_to_transform=layers,
        )
        model = get_peft_model(model, lora)
    elif layers is not None:
        model.requires_grad_(False)
        for layer in stack(model)[layers[0] :]:
            layer.requires_grad_(True)
    return model


def recompute_layers(model: torch.nn.Module) -> None:
    """Let the backward pass compute the activations inside each layer again.

    Transformers does this in training mode only, which would also switch dropout on.

    Raises:
        ConfigError: The model does not say what its layers are.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers: list[Any] = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for layer in layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    if not layers:
        raise ConfigError(
            f"the layers of {type(model).__name__} cannot be recomputed",
            where="train.checkpointing",
            do="set it to false",
        )


def linear_names(model: Any) -> list[str]:
    """Names of the linear layers that LoRA adapts: all except the vocabulary head.

    peft's own name for them, ``all-linear``, cannot be limited to some layers.

    Raises:
        ConfigError: There are none: some models, such as GPT-2, are made of other maps.
    """
    head = model.get_output_embeddings()
    maps = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head]
    if not maps:
        raise ConfigError(
            f"LoRA finds no linear maps in {type(model).__name__}",
            where="train.lora_rank",
            do="set it to 0 to train all weights, or use another model",
        )
    return sorted({n.rpartition(".")[2] for n in maps})


def _top_layers(model: torch.nn.Module, count: int | None) -> list[int] | None:
    """Indices of the last ``count`` layers; the backward pass ends at the lowest of them.

    Raises:
        ConfigError: The model has fewer layers.
    """
    if count is None:
        return None
    total = int(model.config.num_hidden_layers)  # type: ignore[union-attr,arg-type]
    if count > total:
        raise ConfigError(f"the model has {total} layers", where=f"train.top_layers = {count}", do="lower it")
    return list(range(total - count, total))


def stack(model: Any, where: str = "train.top_layers") -> torch.nn.ModuleList:
    """The layers of a model, from the lowest; families name them differently.

    Args:
        model: Causal language model without wrappers.
        where: What needs them, for the error.

    Raises:
        ConfigError: No list of modules has as many entries as the model has layers.
    """
    total = int(model.config.num_hidden_layers)
    lists = [m for m in body_of(model).modules() if isinstance(m, torch.nn.ModuleList)]
    found = next((m for m in lists if len(m) == total), None)
    if found is None:
        raise ConfigError(
            f"the layers of {type(model).__name__} are not in one list",
            where=where,
            do="use DDP, or a model of another family" if where == SHARDS else "leave it out, or set train.lora_rank",
        )
    return found


def kernel(model: torch.nn.Module) -> str:
    """Name of the attention kernel; part of the key of cached statistics."""
    return str(plain(model).config._attn_implementation)


def plain(model: torch.nn.Module) -> Any:
    """The causal language model inside distributed and adapter wrappers."""
    inner: Any = getattr(model, "module", model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def forward_passes(sequences: Sequence[TokenSequence], config: TrainConfig) -> list[list[int]]:
    """Group sequences, by index, into forward passes of at most ``micro_tokens`` tokens each.

    With shared prefixes, a pass takes neighbours in lexicographic order and counts distinct tokens. Without them, it
    takes neighbours in length and counts padded tokens. One sequence always fits.
    """
    passes: list[list[int]] = []
    if config.share_prefix:
        for i in sorted(range(len(sequences)), key=lambda i: sequences[i].ids):
            held = [sequences[j].ids for j in passes[-1]] if passes else []
            if held and distinct_tokens([*held, sequences[i].ids]) <= config.micro_tokens:
                passes[-1].append(i)
            else:
                passes.append([i])
        return passes
    for i in sorted(range(len(sequences)), key=lambda i: len(sequences[i].ids)):
        if passes and (len(passes[-1]) + 1) * len(sequences[i].ids) <= config.micro_tokens:
            passes[-1].append(i)
        else:
            passes.append([i])
    return passes


def fits_one_pass(sequences: Sequence[TokenSequence], config: TrainConfig) -> bool:
    """Whether :func:`forward_passes` puts them into one pass; if it does, the same is true of any part of them."""
    ids = [s.ids for s in sequences]
    tokens = distinct_tokens(ids) if config.share_prefix else len(ids) * max(map(len, ids))
    return len(ids) == 1 or tokens <= config.micro_tokens


class Policy(torch.nn.Module):
    """A language model as a function from episodes to statistics of their action tokens.

    Distributed wrappers wrap this module's forward pass, so they average the right gradients.

    Args:
        model: Model from :func:`load_model`.
        config: Settings of precision and shape of the forward passes.
        needs: Needs of the algorithm; they decide which heads exist.
    """

    def __init__(self, model: torch.nn.Module, config: TrainConfig, needs: Collection[Need] = ()) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.heads = heads_for(needs, plain(model))
        self.frozen: FrozenOutputs | None = None  # kept outputs of the layers below the trained ones
        self.sharded = False
        self.in_step: Callable[[int], int] = int  # number of passes that all processes make if this one has so many
        self.clock = Clock(torch.cuda.synchronize if torch.cuda.is_available() else None)

    def sizes(self) -> dict[str, int]:
        """Number of parameters and of trained ones, with adapters and heads, for the manifest."""
        every = list(self.parameters())
        trained = sum(p.numel() for p in every if p.requires_grad)
        return {"parameters": sum(p.numel() for p in every), "trained_parameters": trained}

    def forward(self, sequences: Sequence[TokenSequence], heads: bool = False) -> list[TokenStatistics]:
        """Statistics of every action token, one entry per sequence.

        With ``share_prefix`` a pass computes each distinct prefix once. Without it, sequences are padded
        on the right and need no attention mask: under causal attention no real token sees padding.

        Args:
            sequences: Sequences to compute; none if only other processes of a sharded policy have some.
            heads: Whether to add the statistics of the heads, if the policy has any.
        """
        results: dict[int, TokenStatistics] = {}
        passes = forward_passes(sequences, self.config)
        idle_passes = self.in_step(len(passes)) - len(passes)  # before the first pass: to agree is a common step too
        for members in passes:
            results.update(zip(members, self._one_pass([sequences[i] for i in members], heads), strict=True))
        for _ in range(idle_passes):
            idle = self._one_pass([IDLE], heads)
            if torch.is_grad_enabled():  # so that the backward pass visits it too
                results[0] = results[0]._replace(logit_N=results[0].logit_N + anchor(idle))
        found = [results[i] for i in range(len(sequences))]
        return [copied(x) for x in found] if self.sharded else found

    def of_model(self, compute: Callable[[Any], Tensor]) -> Tensor:
        """What a function computes from the causal language model inside; the model is not called in other ways."""
        return compute(plain(self.model))

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    def body(self, inputs: dict[str, Any]) -> Tensor:
        """Final hidden states, in the compute precision."""
        bf16 = self.config.precision == "bf16"
        # The cache keeps the bf16 copies of all layers' weights, and shards are there to keep few.
        cached = not self.sharded
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=cached) if bf16 else nullcontext():
            found: Tensor = body_of(plain(self.model))(**inputs, use_cache=False).last_hidden_state
        return found

    def _one_pass(self, sequences: Sequence[TokenSequence], heads: bool) -> list[TokenStatistics]:
        inner = plain(self.model)
        device = self.device
        given: Tensor | None = None
        if self.config.share_prefix:
            ids_of = [s.ids for s in sequences]
            trie = merge(ids_of)
            inputs = trie_inputs(trie, self.device)
            at: list[Any] = [nodes[p - 1] for s, nodes in zip(sequences, trie.nodes, strict=True) for p in s.actions]
            given = self.frozen.outputs(trie, ids_of) if self.frozen is not None else None
        else:
            ids = torch.zeros(len(sequences), max(len(s.ids) for s in sequences), dtype=torch.long)
            for row, s in enumerate(sequences):
                ids[row, : len(s.ids)] = torch.tensor(s.ids)
            inputs = {"input_ids": ids.to(device)}
            at = [(r, p - 1) for r, s in enumerate(sequences) for p in s.actions]
        # Sequences that share a prefix share its actions too: each pair of place and token is computed once.
        pairs = list(zip(at, (s.ids[p] for s in sequences for p in s.actions), strict=True))
        once = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        places = torch.tensor([place for place, _ in once], dtype=torch.long, device=device)
        chosen = torch.tensor([token for _, token in once], dtype=torch.long, device=device)
        skipping = nullcontext() if self.frozen is None or given is None else self.frozen.given(given.to(device))
        with self.clock.part("forward"), skipping:
            hidden = self.body(inputs)[(0, places) if self.config.share_prefix else tuple(places.T)]
        # The head runs outside autocast: it is fp32 for any precision of the body.
        with self.clock.part("head"):
            found = token_statistics(hidden, partial(logits, inner), chosen)
            if heads and self.heads is not None:
                found = self.heads.extend(found, hidden, chosen)
        counts = [len(s.actions) for s in sequences]
        which = torch.tensor([once[pair] for pair in pairs], dtype=torch.long, device=device)
        columns = [repeat(None) if x is None else torch.split(x[which], counts) for x in found]
        return [TokenStatistics._make(parts) for parts in zip(*columns, strict=False)]


def concatenate(parts: Sequence[TokenStatistics]) -> TokenStatistics:
    """Join the statistics of an episode's sequences."""
    columns = zip(*parts, strict=True)
    return TokenStatistics._make(None if c[0] is None else torch.cat(c) for c in columns)


def row_statistics(policy: torch.nn.Module, rendered: Sequence[Rendered], heads: bool = False) -> list[TokenStatistics]:
    """Statistics per episode, in one call of the (possibly wrapped) policy."""
    found = iter(policy([s for r in rendered for s in r.sequences], heads=heads))
    return [concatenate([next(found) for _ in r.sequences]) for r in rendered]
