"""One identity of a model folder: every file that decides a number is in it, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import TOY

import shiqbench
from shiqbench.base.errors import ConfigError
from shiqbench.models.identity import architecture, deciding_files, identity_beside_weights, model_identity
from shiqbench.models.sources import find_model

SHARDS = "model.safetensors.index.json"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def as_bin(folder: Path, factor: float = 1.0) -> None:
    tensors = load_file(folder / "model.safetensors")
    torch.save({k: v * factor for k, v in tensors.items()}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def as_shards(folder: Path, factor: float = 1.0) -> None:
    """Shards in a sub-folder, as an index may name them."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "parts").mkdir(exist_ok=True)
    save_file({k: v * factor for k, v in tensors.items()}, folder / "parts/one.safetensors", metadata={"format": "pt"})
    (folder / SHARDS).write_text(
        json.dumps({"metadata": {}, "weight_map": dict.fromkeys(tensors, "parts/one.safetensors")})
    )
    (folder / "model.safetensors").unlink()


def as_stated(folder: Path, factor: float = 1.0) -> None:
    """A file that the configuration names."""
    as_shards(folder, factor)
    (folder / SHARDS).unlink()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "parts/one.safetensors"}))


@pytest.mark.parametrize("form", [as_bin, as_shards, as_stated])
def test_weights_of_every_form_that_is_loaded_are_in_it(
    tiny_model: Path, tmp_path: Path, form: Callable[[Path, float], None]
) -> None:
    from transformers import AutoModelForCausalLM

    found, computed = [], []
    for factor in (1.0, 1.5):
        folder = Path(shutil.copytree(tiny_model, tmp_path / str(factor)))
        form(folder, factor)
        found.append(model_identity(folder))
        computed.append(AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([[1, 5]])).logits)
    assert not torch.equal(*computed)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "added_tokens.json",
        "special_tokens_map.json",
        "tekken.json",
        "chat_template.jinja",
        "chat_template.json",
        "additional_chat_templates/tool_use.jinja",
        "modeling_mine.py",
        "consolidated.safetensors",
        "a_format_of_next_year.model2",
    ],
)
def test_a_file_that_can_decide_a_number_is_in_it(folder: Path, name: str) -> None:
    found = [(model_identity(folder), identity_beside_weights(folder))]
    (folder / name).parent.mkdir(exist_ok=True)
    for text in ('{"a": 1}', '{"a": 2}'):
        (folder / name).write_text(text)
        found.append((model_identity(folder), identity_beside_weights(folder)))
    assert len({whole for whole, _ in found}) == 3
    assert len({without for _, without in found}) == (1 if name.endswith(".safetensors") else 3)


def test_what_nothing_reads_is_not_in_it(folder: Path) -> None:
    before = model_identity(folder)
    for name in (
        "README.md",
        "LICENSE",
        "LICENSE.txt",
        "USE_POLICY.md",
        ".gitattributes",
        "plot.png",
        "model-Q4.gguf",
        "tf_model.h5",
        "pytorch_model.bin",  # model.safetensors is loaded instead
        "training_args.bin",
        "original/consolidated.00.pth",
        "original/params.json",
        "checkpoint-5/model.safetensors",
        ".cache/huggingface/x.metadata",
    ):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text("text")
        assert model_identity(folder) == before, name


def test_a_folder_is_the_same_model_wherever_it_lies(folder: Path, tmp_path: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ messages }}")
    linked = tmp_path / "hub" / "snapshots" / "0123"  # the hub's cache holds links to files with other names
    for file in deciding_files(folder):
        target = linked / file.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        blob = tmp_path / "hub" / f"blob{len(list((tmp_path / 'hub').iterdir()))}"
        shutil.copyfile(file, blob)
        target.symlink_to(blob)
    assert find_model(str(linked)).identity == find_model(str(folder)).identity
    assert find_model(str(linked)).folder() == linked


def test_a_model_of_the_hub_is_the_model_of_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **options: str(folder))
    source = find_model("org/name")
    assert source.identity == find_model(str(folder)).identity
    assert (source.text, source.revision) == ("org/name", folder.name)


def test_a_model_that_changes_after_planning_is_refused(folder: Path) -> None:
    source = find_model(str(folder))
    config = (folder / "config.json").read_text()
    times = (folder / "config.json").stat()
    (folder / "config.json").write_text(config.replace("1e-06", "2e-06"))
    os.utime(folder / "config.json", ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ConfigError, match="the model changed after the run was planned"):
        source.folder()


def test_an_index_that_is_no_json_is_named(folder: Path) -> None:
    (folder / SHARDS).write_text("version https://git-lfs")
    with pytest.raises(ConfigError, match=f"{SHARDS} is not JSON"):
        find_model(str(folder))


def with_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def test_an_engine_is_for_the_whole_configuration(folder: Path, tiny_model: Path) -> None:
    ours = architecture(tiny_model)
    with_config(folder, transformers_version="0", dtype="bfloat16", use_cache=False, _name_or_path="x")
    assert architecture(folder) == ours
    for change in ({"rms_norm_eps": 0.1}, {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}):
        with_config(folder, **change)
        assert architecture(folder) != ours


# -- what a wrong key did: the reference's statistics of another model ----------------------------------------


def bins(folder: Path, second: bool) -> None:
    as_bin(folder, 1.5 if second else 1.0)


def ropes(folder: Path, second: bool) -> None:
    with_config(folder, rope_parameters={"rope_type": "default", "rope_theta": 3.0 if second else 10000.0})


@pytest.mark.parametrize("differ", [bins, ropes])
def test_two_models_do_not_share_the_reference_s_statistics(
    tiny_model: Path, tmp_path: Path, own_cache: Path, differ: Callable[[Path, bool], None]
) -> None:
    cells = set()
    for second in (False, True):
        folder = Path(shutil.copytree(tiny_model, tmp_path / f"model-{second}"))
        differ(folder, second)
        ran = shiqbench.run("dpo", "toy", model=str(folder), plugins=(TOY,), results=tmp_path / "results")
        manifest = json.loads((ran.path / "manifest.json").read_text())
        first = json.loads((ran.path / "train.jsonl").read_text().splitlines()[0])
        assert (manifest["reference"]["cached"], first["loss"]) == (0, pytest.approx(0.693147, abs=1e-5))
        assert architecture(ran.path / "checkpoint") == architecture(folder)  # so that an engine loads both in turn
        cells.add(ran.cell)
    assert len(cells) == 2
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    again = shiqbench.run("dpo", "toy", model=str(moved), plugins=(TOY,), results=tmp_path / "results")
    assert again.cell == ran.cell
