"""A tiny transformer as the policy of a tree: tokens are actions, and all strings can be enumerated.

The prompt is one token that is not an action: rotary positions are relative, and after a prompt of action 0 the
strings "0" and "0 0" would be one state to the transformer. The vocabulary head contains only the actions.

Legend: S instances, N states, A actions, H steps, T steps taken.
"""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from shiqbench.plugin import SAMPLED_HEAD
from shiqbench_tasks.mdp import data, mdps

if TYPE_CHECKING:
    from torch import Tensor

    from shiqbench_tasks.mdp.config import MdpConfig
    from shiqbench_tasks.mdp.mdps import Mdp

HIDDEN, INNER, LAYERS, HEADS = 16, 32, 2, 2
SPREAD = 0.2  # standard deviation of initial weights: references are far from uniform, but never nearly certain


def transformer(config: MdpConfig, instance: int) -> Any:
    """Make the untrained transformer of an instance; only the embeddings contain the token of the prompt."""
    from transformers import LlamaConfig, LlamaForCausalLM

    actions, horizon, _ = config.sizes
    shape = LlamaConfig(
        vocab_size=actions + 1,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=horizon + 1,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        model = LlamaForCausalLM(shape)
        model.set_output_embeddings(torch.nn.Linear(HIDDEN, actions, bias=False))
    stream = data.random_stream(config.seed_of(instance), "transformer")
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            if weight.dim() > 1:  # norms stay at one
                weight.normal_(0.0, 1.0 if "embed" in name else SPREAD, generator=stream)
    return model.eval()


@torch.no_grad()
def node_logits(model: Any, config: MdpConfig) -> Tensor:
    """Logits ``[N, A]`` at every node, in fp64: every node is a prefix of some string of H - 1 actions."""
    actions, horizon, _ = config.sizes
    strings = product(range(actions), repeat=horizon - 1)
    ids = torch.tensor([(actions, *string) for string in strings], device=model.device)
    logits = model(ids, use_cache=False).logits.double().cpu()
    return torch.cat([logits[:: actions ** (horizon - 1 - t), t] for t in range(horizon)])


def build(config: MdpConfig) -> Mdp:
    """Build the instances of a configuration, with untrained transformers as references."""
    tables = [node_logits(transformer(config, s), config) for s in range(config.seeds)]
    return replace(mdps.build(config), ref_logit_SNA=torch.stack(tables))


def tables(config: MdpConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Logits of trained transformers at every node.

    Args:
        config: Configuration of the task.
        tensors: Weights of all instances; each name begins with the number of the instance.

    Returns:
        ``logits`` of the model, and ``sampled`` of the policy that is sampled, ``[S, N, A]``.
    """
    found: dict[str, list[Tensor]] = {"logits": [], "sampled": []}
    for s in range(config.seeds):
        state = {k.removeprefix(f"{s}."): v for k, v in tensors.items() if k.startswith(f"{s}.")}
        sampled = state.pop(SAMPLED_HEAD)
        model = transformer(config, s)
        model.load_state_dict(state)
        found["logits"].append(node_logits(model, config))
        model.get_output_embeddings().weight.data = sampled
        found["sampled"].append(node_logits(model, config))
    return {name: torch.stack(parts) for name, parts in found.items()}


def only(mdp: Mdp, s: int) -> Mdp:
    """Select one instance of several."""
    parts: dict[str, Any] = {
        f.name: getattr(mdp, f.name)[s : s + 1] for f in fields(mdp) if isinstance(getattr(mdp, f.name), torch.Tensor)
    }
    return replace(mdp, **parts)
