"""The built-in tasks. They register through the same hook as a plugin's tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.resources import files
from typing import Any

from shiqbench.plugin import TaskSpec, hookimpl
from shiqbench_tasks.bfcl_v3.versions import BFCL_V3, BFCL_V4


class Presets(Mapping[str, Mapping[str, Any]]):
    """The presets of a task, from the ``presets.toml`` in its folder, which is read on first use.

    A table is one preset: ``train.lr = 1e-4``, or ``"sft:train".lr = 1e-4`` for one algorithm. ``like`` names the
    preset that it extends.

    Args:
        task: Name of the task's folder.
    """

    def __init__(self, task: str) -> None:
        self._task = task

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        preset = dict(self._tables[name])
        like = preset.pop("like", None)
        own = {f"{section}.{key}": value for section, values in preset.items() for key, value in values.items()}
        return _merged(self[like], own) if like else own

    def __iter__(self) -> Iterator[str]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @cached_property
    def _tables(self) -> dict[str, dict[str, Any]]:
        import tomllib

        return tomllib.loads((files(__name__) / self._task / "presets.toml").read_text(encoding="utf-8"))


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {k: _merged(old[k], v) for k, v in new.items() if isinstance(v, dict) and k in old}
    return {**old, **new, **both}


@hookimpl
def shiqbench_register_tasks() -> list[TaskSpec]:
    """Name the built-in tasks."""
    return [
        TaskSpec(
            name="bfcl_v3",
            version="1",
            summary="operate simulated tools over several user turns (BFCL-V3 multi-turn)",
            target="shiqbench_tasks.bfcl_v3.task:BfclTask",
            config="shiqbench_tasks.bfcl_v3.config:BfclConfig",
            presets=Presets("bfcl_v3"),
            assets=(BFCL_V3, BFCL_V4),
        ),
        TaskSpec(
            name="ultrafeedback",
            version="1",
            summary="answer instructions, judged by a reward model (UltraFeedback, or any rated or preference data)",
            target="shiqbench_tasks.ultrafeedback.task:UltraFeedbackTask",
            config="shiqbench_tasks.ultrafeedback.config:UltraFeedbackConfig",
            presets=Presets("ultrafeedback"),
        ),
        TaskSpec(
            name="episodes",
            version="1",
            summary="continue conversations of your own data: tool calls, rewards per message, your own score",
            target="shiqbench_tasks.episodes.task:EpisodesTask",
            config="shiqbench_tasks.episodes.config:EpisodesConfig",
            presets=Presets("episodes"),
            file_setting="data",
        ),
        TaskSpec(
            name="lm_eval",
            version="1",
            summary="standard suites of lm-eval on any weights; evaluates only",
            target="shiqbench_tasks.lm_eval.task:LmEvalTask",
            config="shiqbench_tasks.lm_eval.config:LmEvalConfig",
            presets=Presets("lm_eval"),
            argument="suites",
            eval_config="shiqbench_tasks.lm_eval.config:LmEvalEvalConfig",
        ),
        TaskSpec(
            name="mdp",
            version="1",
            summary="synthetic MDPs solved exactly; the policy is a table of logits",
            target="shiqbench_tasks.mdp.task:MdpTask",
            config="shiqbench_tasks.mdp.config:MdpConfig",
            presets=Presets("mdp"),
            own_policy=True,
            train_config="shiqbench_tasks.mdp.config:MdpTrainConfig",
            eval_config="shiqbench_tasks.mdp.config:MdpEvalConfig",
        ),
        TaskSpec(
            name="chat_mdp",
            version="1",
            summary="MDPs solved exactly, played by a language model in several turns of chat",
            target="shiqbench_tasks.chat_mdp.task:ChatMdpTask",
            config="shiqbench_tasks.chat_mdp.config:ChatMdpConfig",
            presets=Presets("chat_mdp"),
        ),
        TaskSpec(
            name="environment",
            version="1",
            summary="play environments of others in several turns: verifiers, OpenEnv, or any program",
            target="shiqbench_tasks.environment.task:EnvironmentTask",
            config="shiqbench_tasks.environment.config:EnvironmentConfig",
            presets=Presets("environment"),
            argument="environment",
        ),
    ]
