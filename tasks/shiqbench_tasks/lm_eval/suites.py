"""Load lm-eval's suites, and refuse what we could not honour before anything is asked."""

from __future__ import annotations

import logging
import random
import sys
import warnings
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiqbench.plugin import ConfigError, Split, did_you_mean
from shiqbench_tasks.lm_eval import punkt
from shiqbench_tasks.lm_eval.local_data import own_data

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shiqbench_tasks.lm_eval.config import LmEvalConfig

FEWSHOT_SEED = 1234  # lm-eval's own default: the same worked examples as everybody's
LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
HONOURED = {*LIMITS, "until", "do_sample", "temperature", "top_p"}


@dataclass(frozen=True)
class Suites:
    """What was asked for, loaded.

    Attributes:
        tasks: lm-eval's tasks by name; a group or a tag gives several.
        groups: lm-eval's groups by name.
        heads: Suite as asked for -> the task or group that gives its headline.
    """

    tasks: dict[str, Any]
    groups: dict[str, Any]
    heads: dict[str, str]

    def reset(self) -> None:
        """The same worked examples again."""
        for task in self.tasks.values():
            task.set_fewshot_seed(seed=FEWSHOT_SEED)


def task_folder(config: LmEvalConfig) -> Path | None:
    """The folder with the user's own suites.

    Raises:
        ConfigError: It is not there.
    """
    if config.task_path is None:
        return None
    folder = Path(config.task_path).expanduser()
    if not folder.is_dir():
        raise ConfigError("no such folder", where=f"task.task_path {folder}", do="give a folder with *.yaml files")
    return folder.resolve()


def load_suites(config: LmEvalConfig, split: Split) -> Suites:
    """Load every suite with its data.

    Raises:
        ConfigError: A suite is unknown, its data cannot be had, or it states what we cannot honour.
    """
    folder = task_folder(config)
    if punkt.is_needed(config.suites, folder):
        punkt.provide()
    tasks: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    heads = {}
    with as_lm_eval(), own_data(folder):
        manager = _manager(config, folder)
        for name in config.suites:
            loaded = _load(manager, name)
            if twice := sorted(set(loaded["tasks"]) & set(tasks)):
                raise ConfigError(
                    f"{twice[0]} is asked twice", where="task.suites", do=f"leave {name} or the other out"
                )
            tasks |= loaded["tasks"]
            groups |= loaded["groups"]
            heads[name] = name if name in loaded["groups"] else next(iter(loaded["tasks"]))
        for name, task in tasks.items():
            _check(name, task)
            _set_fewshot(name, task, config.num_fewshot)
            _set_split(name, task, split)
    return Suites(tasks, groups, heads)


def _manager(config: LmEvalConfig, folder: Path | None) -> Any:
    """An index of what is wanted, or of everything: that reads thousands of files."""
    import lm_eval.tasks

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    shipped = Path(lm_eval.tasks.__file__).parent
    near = [shipped / name for name in config.suites if (shipped / name).is_dir()]
    own = [folder] if folder is not None else []
    manager = lm_eval.tasks.TaskManager(include_path=[*near, *own], include_defaults=False)
    if set(config.suites) <= set(manager.all_subtasks):
        return manager
    manager = lm_eval.tasks.TaskManager(include_path=own, include_defaults=True)
    for name in config.suites:
        if name not in manager.all_tasks:
            raise ConfigError(
                f"lm-eval has no task {name!r}{did_you_mean(name, manager.all_tasks)}",
                where="task.suites",
                do="see `lm-eval ls tasks`, or give your own with task.task_path",
            )
    return manager


def _load(manager: Any, name: str) -> Any:
    try:
        return {"groups": {}, **manager.load([name])}
    except ConfigError:
        raise
    except Exception as error:  # a suite's own code runs here
        raise ConfigError(
            f"suite {name} cannot be loaded: {type(error).__name__}: {error}",
            where="task.suites",
            do="check its name and data; without a hub give task.task_path, a folder with its YAML and data",
        ) from error


def _check(name: str, task: Any) -> None:
    """Refuse what the engines cannot do.

    Raises:
        ConfigError: The suite runs generated code, shows pictures, or samples in a way that engines do not offer.
    """
    if getattr(task, "UNSAFE_CODE", False):
        raise ConfigError(f"suite {name} runs code that the model wrote", where="task.suites", do="leave it out")
    if getattr(task, "MULTIMODAL", False):
        raise ConfigError(f"suite {name} shows the model more than text", where="task.suites", do="leave it out")
    stated = task.get_config("generation_kwargs") if task.OUTPUT_TYPE == "generate_until" else None
    if strange := sorted(set(stated or {}) - HONOURED):
        raise ConfigError(
            f"suite {name} samples with {', '.join(strange)}, which engines do not offer",
            where="task.suites",
            do="leave it out, or state it anew under task.task_path",
        )


def _set_fewshot(name: str, task: Any, wanted: int | None) -> None:
    stated = task.get_config("num_fewshot")
    if wanted is not None and stated == 0 != wanted:
        raise ConfigError(
            f"suite {name} is fixed at no worked examples, task.num_fewshot = {wanted} cannot be honoured",
            where="task.num_fewshot",
            do="leave it out",
        )
    task.set_config("num_fewshot", wanted if wanted is not None else stated or 0)


def _set_split(name: str, task: Any, split: Split) -> None:
    """`test` is what the suite evaluates of itself; another split must be another one."""
    if split == "test":
        return
    own = task.get_config("test_split") or task.get_config("validation_split")
    chosen = task.get_config("training_split" if split == "train" else "validation_split")
    if chosen is None or chosen == own:
        raise ConfigError(
            f"suite {name} has no {split} split apart from what it evaluates ({own})",
            where=f"eval.split = {split}",
            do="leave it out",
        )
    task.set_config("test_split", chosen)


@contextmanager
def as_lm_eval() -> Iterator[None]:
    """Its warnings are for its authors and its prints no results; verifiers draw at random, from seeds given here."""
    state = random.getstate()
    random.seed(0)
    if language := sys.modules.get("langdetect"):  # draws too: unseeded, IFEval's verdicts differ from run to run
        language.DetectorFactory.seed = 0
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(state)
