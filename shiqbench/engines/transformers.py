"""Plain transformers as a generator: the fallback for vLLM, and a check on it.

Rows are padded on the left and decoded together with a key-value cache; each row draws from its own
generator, so its sample depends only on the seed and its place.

Legend: R rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any, Literal

import torch

from shiqbench.base.errors import EngineError
from shiqbench.episodes.generation import Completion, Sampling, check_finite
from shiqbench.models.identity import safetensors_of
from shiqbench.models.loading import causal_model
from shiqbench.plugin.config import EngineConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

NO_SETTINGS = EngineConfig()
ROW_TOKENS = 16384  # prompt tokens that are decoded together, including padding


class TransformersEngine:
    """A causal language model of transformers.

    Args:
        weights: Model folder.
        config: The engine has no settings.
        precision: Precision of weights and activations.
        max_context: Prompt plus completion, in tokens.
    """

    name = "transformers"

    def __init__(
        self,
        weights: Path,
        config: EngineConfig = NO_SETTINGS,
        *,
        precision: Literal["bf16", "fp32"],
        max_context: int,
    ) -> None:
        self.version = f"transformers {importlib.metadata.version('transformers')}"
        self.precision, self.max_context = precision, max_context
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._config: bytes | None = None  # of the folder that the loaded model was built from
        self.load(weights)

    def load(self, weights: Path) -> None:
        """Load weights, into the loaded model if the folder's configuration is the same.

        Raises:
            EngineError: The folder cannot be loaded.
        """
        self._weights = weights
        config = (weights / "config.json").read_bytes() if (weights / "config.json").is_file() else None
        if config is not None and config == self._config and _copied(weights, self._model):
            return
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        try:
            model = causal_model(weights, dtype)
        except (OSError, ValueError) as error:
            raise EngineError(f"cannot load the model: {error}", where=str(weights), do="check the folder") from error
        self._model: Any = model.to(self._device)
        self._config = config

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """Complete every prompt, in groups of similar length."""
        found: dict[int, Completion] = {}
        for group in self._groups(prompts):
            rows = self._decode([prompts[i] for i in group], sampling, group)
            found.update(zip(group, rows, strict=True))
        return [found[i] for i in range(len(prompts))]

    def _groups(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        groups: list[list[int]] = []
        for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
            if groups and (len(groups[-1]) + 1) * len(prompts[i]) <= ROW_TOKENS:
                groups[-1].append(i)
            else:
                groups.append([i])
        return groups

    @torch.inference_mode()
    def _decode(self, prompts: Sequence[Sequence[int]], sampling: Sampling, indices: Sequence[int]) -> list[Completion]:
        from transformers import DynamicCache

        width = max(len(p) for p in prompts)
        ids_RT = torch.zeros(len(prompts), width, dtype=torch.long)
        mask_RT = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, p in enumerate(prompts):
            ids_RT[row, width - len(p) :] = torch.tensor(list(p))
            mask_RT[row, width - len(p) :] = 1
        ids_RT, mask_RT = ids_RT.to(self._device), mask_RT.to(self._device)
        generators = [torch.Generator().manual_seed(sampling.seed_of(i)) for i in indices]
        sampled: list[list[int]] = [[] for _ in prompts]
        logps: list[list[float]] = [[] for _ in prompts]
        live = list(range(len(prompts)))
        cache, step_RT = DynamicCache(config=self._model.config), ids_RT
        while live:
            positions_RT = (mask_RT.cumsum(-1) - 1).clamp(min=0)[:, -step_RT.shape[1] :]
            out = self._model(
                input_ids=step_RT,
                attention_mask=mask_RT,
                position_ids=positions_RT,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logp_RV = out.logits[:, -1].float().log_softmax(-1).cpu()
            check_finite(logp_RV.amax(-1, keepdim=True).tolist(), self._weights)  # where one is nan, its row is
            chosen = [_choose(logp_V, sampling, generators[r]) for logp_V, r in zip(logp_RV, live, strict=True)]
            keep = []
            for at, (row, token) in enumerate(zip(live, chosen, strict=True)):
                sampled[row].append(token)
                logps[row].append(float(logp_RV[at, token]))
                if token not in sampling.stop_token_ids and len(sampled[row]) < sampling.max_tokens:
                    keep.append(at)
            if len(keep) < len(live):
                index = torch.tensor(keep, dtype=torch.long, device=self._device)
                cache.reorder_cache(index)
                mask_RT = mask_RT[index]
                live = [live[k] for k in keep]
            step_RT = torch.tensor([[sampled[r][-1]] for r in live], dtype=torch.long, device=self._device)
            mask_RT = torch.cat([mask_RT, torch.ones(len(live), 1, dtype=torch.long, device=self._device)], dim=1)
        return [
            Completion(tuple(s), tuple(p), stopped=s[-1] in sampling.stop_token_ids)
            for s, p in zip(sampled, logps, strict=True)
        ]

    @torch.inference_mode()
    def score(self, sequences: Sequence[Sequence[int]]) -> list[list[float]]:
        """Log-probability of each token given those before it; the first token's is 0."""
        found = []
        for sequence in sequences:
            ids_T = torch.tensor(list(sequence), device=self._device)
            logp_TV = self._model(input_ids=ids_T[None], use_cache=False).logits[0, :-1].float().log_softmax(-1)
            found.append([0.0, *logp_TV.gather(-1, ids_T[1:, None])[:, 0].tolist()])
        check_finite(found, self._weights)
        return found

    def describe(self) -> dict[str, Any]:
        """Flags and version, for the manifest."""
        flags = {"precision": self.precision, "device": self._device.type, "row_tokens": ROW_TOKENS}
        return {"engine": self.name, "version": self.version, "flags": flags}

    def close(self) -> None:
        """Free the memory."""
        self._model = None


def _choose(logp_V: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """Greedy at temperature 0, else a draw from the nucleus."""
    if sampling.temperature == 0:
        return int(logp_V.argmax())
    p_V, order_V = (logp_V / sampling.temperature).softmax(-1).sort(descending=True)
    p_V = p_V * (p_V.cumsum(-1) - p_V < sampling.top_p)
    return int(order_V[torch.multinomial(p_V, 1, generator=generator)])


def _copied(weights: Path, model: torch.nn.Module) -> bool:
    """Copy a folder's tensors into a model; if they are not all of its tensors, copy nothing and return False."""
    from safetensors.torch import load_file

    found = {name: t for file in safetensors_of(weights) for name, t in load_file(file).items()}
    own = model.state_dict()
    if any(name not in own or own[name].shape != t.shape for name, t in found.items()):
        return False
    # Tied tensors are one tensor with two names; a folder contains one of the names.
    covered = {own[name].data_ptr() for name in found}
    if any(t.data_ptr() not in covered for t in own.values()):
        return False
    with torch.no_grad():
        for name, tensor in found.items():
            own[name].copy_(tensor)
    return True
