"""Settings of engines, and plans for a model that a server has: what is refused, and what enters digests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_server import serving
from support import TOY

from shiqbench.base.digest import digest
from shiqbench.base.errors import ConfigError
from shiqbench.planning.make import make_plan
from shiqbench.planning.plan import ModelPlan, Request


def plan(model: object, *, algo: str = "base", engine: str = "served", also: Any = (), **settings: Any) -> ModelPlan:
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    request = Request(algo, "toy", None if model is None else str(model), settings=dotted, engine=engine, also=also)
    found = make_plan(Request(**{**vars(request), "plugins": (TOY,)}))
    assert isinstance(found, ModelPlan)
    return found


def refused(*arguments: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(*arguments, **settings)
    return caught.value.line()


def test_a_setting_of_an_engine_enters_digests_where_it_decides_numbers_and_is_not_the_default(
    tiny_model: Path,
) -> None:
    def setting(**settings: Any) -> str:
        return digest(plan(tiny_model, engine="vllm", **settings).setting)

    plain = setting()
    assert setting(engine__tensor_parallel=1, engine__max_num_seqs=64, engine__gpu_memory=0.8) == plain
    others = [setting(engine__tensor_parallel=2), setting(engine__max_num_seqs=8)]
    assert len({plain, *others}) == 3
    assert (
        plan(tiny_model, engine="vllm", engine__max_num_seqs=8).cell.digest
        == plan(tiny_model, engine="vllm").cell.digest
    )


def test_wrong_settings_of_engines_are_one_line(tiny_model: Path) -> None:
    assert refused(tiny_model, engine="vllm", engine__tensor_paralel=2) == (
        "unknown setting 'engine.tensor_paralel', did you mean 'engine.tensor_parallel'? (--set); "
        "engine has tensor_parallel, max_num_seqs, waves, gpu_memory"
    )
    assert refused(tiny_model, engine="vllm", engine__tensor_parallel=0).startswith("engine.tensor_parallel = 0: ")
    assert refused(tiny_model, engine="transformers", engine__url="x").endswith("engine has no settings")
    with pytest.raises(ConfigError, match=r"engine.workers cannot be honoured: mdp brings its own policy and asks no"):
        make_plan(Request("shiq", "mdp", settings={"engine.workers": 1}))


def test_an_added_task_has_the_engine_of_the_cell_with_its_settings(tiny_model: Path) -> None:
    whole = plan(tiny_model, engine="vllm", also=("toy:3",), engine__max_num_seqs=8)
    (added,) = whole.also
    assert added.engine_config == whole.engine_config
    (other,) = plan(
        tiny_model, engine="vllm", also=("toy:3",), engine__max_num_seqs=8, also__toy__eval__engine="transformers"
    ).also
    assert other.engine_config.model_dump() == {}


def test_a_served_model_is_its_name_at_its_server(tmp_path: Path) -> None:
    with serving(models=("m", "n")) as server:
        url = server.url
        found, other = plan("m", engine__url=url), plan("n", engine__url=url)
        assert found.cell.model.identity == {"served": "m", "url": url}
        assert found.engine_version == "maker 9.9, served"
        assert found.setting["engine"] == "maker 9.9, served"
        assert not {"precision", "max_context"} & set(found.setting["eval"])  # the server decides them
        assert found.how() == "maker 9.9, served on test"
        assert digest(found.setting) == digest(other.setting)  # so both models are in one table
        assert found.cell.digest != other.cell.digest
        assert digest(plan("m", engine__url=url, engine__workers=2).setting) == digest(found.setting)
        assert digest(plan("m", engine__url=url, engine__extra={"top_k": 1}).setting) != digest(found.setting)
        server.version = "10"
        assert digest(plan("m", engine__url=url).setting) != digest(found.setting)
        with pytest.raises(ConfigError, match="a server has the model, and no folder here"):
            found.cell.model.folder()


def test_what_a_served_model_cannot_do_is_one_line(tiny_model: Path) -> None:
    with serving() as server:
        url = server.url
        assert refused("m", algo="sft", engine__url=url) == (
            "sft trains, and served evaluates a model that a server has (--engine served); "
            "give --algo base, or another engine"
        )
        for name, value in (("precision", "fp32"), ("max_context", 100)):
            line = f"eval.{name} cannot be honoured: the server decides it (--set); leave it out"
            assert refused("m", engine__url=url, **{f"eval__{name}": value}) == line
            added = refused("m", engine__url=url, also=("toy:3",), **{f"also__toy__eval__{name}": value})
            assert added == f"also.toy.{line}"
        template = refused("m", engine__url=url, model__template={"enable_thinking": False})
        assert template.startswith("model.template cannot be honoured: the server renders the chat template (--set)")
        assert refused("cell:1234", engine__url=url).startswith(
            "served cannot load a cell's weights (--model cell:1234)"
        )
        assert refused(None, engine__url=url).startswith("the server is asked for no model")
        other = refused("m", engine__url=url, also=("toy:3",), also__toy__eval__engine="transformers")
        assert other.startswith("served and transformers do not have the same model (also.toy.eval.engine)")
    assert refused("m").startswith("no URL of a server (--engine served)")


@pytest.mark.parametrize(
    ("task", "settings", "needs"),
    [
        ("chat_mdp", {}, "log-probabilities of every word"),
        ("bfcl_v3", {"task.prompt": "native"}, "the chat template, which task.prompt = native reads"),
        ("lm_eval", {"task.suites": "arithmetic"}, "token ids and log-probabilities, as lm-eval asks for them"),
    ],
)
def test_a_task_that_needs_tokens_says_so(task: str, settings: dict[str, Any], needs: str) -> None:
    with serving() as server:
        request = Request("base", task, "m", engine="served", settings={**settings, "engine.url": server.url})
        with pytest.raises(ConfigError) as caught:
            make_plan(request)
    assert caught.value.line().startswith(f"{task} needs {needs}, which a served model does not give (--engine served)")


def test_rollouts_need_token_ids() -> None:
    settings = {"task.behaviours": "rollout", "task.rollout_engine": "served"}
    with pytest.raises(ConfigError, match=r"served gives no token ids, which training on rollouts needs"):
        _ = make_plan(Request("sft", "bfcl_v3", settings=settings)).cell.digest
