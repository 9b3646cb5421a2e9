"""Reward models: a classifier from a folder, and those that are trained here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from shiqbench.base.errors import ConfigError
from shiqbench.episodes.episode import Message
from shiqbench.plugin.registry import registry
from shiqbench.plugin.reward import Answered, Pair, held_out_accuracy
from shiqbench.rewards.bradley_terry import BradleyTerry, BradleyTerryFull
from shiqbench.rewards.classifier import Classifier
from shiqbench.rewards.config import BradleyTerryConfig, BradleyTerryFullConfig, ClassifierConfig
from shiqbench.rewards.head import apply, fit_head

ASKED = [Answered((Message("user", f"question {i}"),), "word " * i) for i in range(7)]


@pytest.fixture(scope="module")
def classifier(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with one output and random weights, as the class of Skywork-Reward is saved."""
    return make_classifier(tiny_model, tmp_path_factory.mktemp("classifier") / "model", outputs=1)


def make_classifier(tiny_model: Path, folder: Path, outputs: int) -> Path:
    from transformers import LlamaConfig, LlamaForSequenceClassification

    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    config = LlamaConfig.from_pretrained(tiny_model, num_labels=outputs)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def pairs(count: int) -> list[Pair]:
    """The better answer is the one with more b in it."""
    found = []
    for i in range(count):
        prompt = (Message("user", f"say {i}"),)
        found.append(Pair(prompt, "ab" * (1 + i % 5) + "b" * (1 + i % 3), "ab" * (1 + i % 5) + "a" * (1 + i % 4)))
    return found


def test_a_classifier_scores_as_transformers_does_one_conversation_at_a_time(classifier: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(classifier)
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    model.config.pad_token_id = None  # transformers then takes the last token of a single row
    wanted = []
    for a in ASKED:
        messages = [{"role": m.role, "content": m.content} for m in a.prompt]
        text = tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": a.answer}], tokenize=False)
        ids = tokenizer(text.removesuffix("\n"), add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            wanted.append(float(model(input_ids=ids).logits[0, 0]))
    model = Classifier(ClassifierConfig(model=str(classifier), batch_tokens=100))
    assert model.score(ASKED) == pytest.approx(wanted, abs=1e-5)
    assert len(set(wanted)) == len(wanted)
    alone = [Classifier(ClassifierConfig(model=str(classifier))).score([a])[0] for a in ASKED]
    assert model.score(ASKED) == pytest.approx(alone, abs=1e-5)


@pytest.mark.parametrize(
    ("outputs", "what"), [(1, None), (2, "the classifier has 2 outputs"), (19, "the classifier has 19 outputs")]
)
def test_what_has_not_one_output_is_refused(tiny_model: Path, tmp_path: Path, outputs: int, what: str | None) -> None:
    model = Classifier(ClassifierConfig(model=str(make_classifier(tiny_model, tmp_path / "model", outputs))))
    if what is None:
        model.fetch()
        return
    with pytest.raises(ConfigError, match=what):
        model.fetch()


def test_a_language_model_is_no_classifier_and_no_model_is_said(tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="the model is LlamaForCausalLM, not a sequence classifier"):
        Classifier(ClassifierConfig(model=str(tiny_model))).fetch()
    with pytest.raises(ConfigError, match=r"no model \(task.reward.model\)"):
        Classifier(ClassifierConfig()).identity()


def test_a_model_of_another_vocabulary_or_without_a_template_is_refused_at_once(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = make_classifier(tiny_model, tmp_path / "model", 1)
    reward, terry = Classifier(ClassifierConfig(model=str(folder))), BradleyTerry(BradleyTerryConfig(model=str(folder)))
    reward.fetch()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": 17}))
    for model in (reward, terry):
        with pytest.raises(ConfigError, match=r"tokenizer has \d+ tokens and the embedding 17 rows.*own tokenizer"):
            model.fetch()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps({k: v for k, v in tokenizer.items() if k != "chat_template"})
    )
    with pytest.raises(ConfigError, match="template"):
        reward.fetch()


def test_a_conversation_that_is_too_long_is_refused_and_not_cut(classifier: Path) -> None:
    long = Answered((Message("user", "x" * 2000),), "y")
    with pytest.raises(ConfigError, match=r"has \d+ tokens, the reward model reads 1024"):
        Classifier(ClassifierConfig(model=str(classifier))).score([long])


def test_the_head_is_where_the_gradient_vanishes() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 5, generator=generator, dtype=torch.float64) * torch.tensor([1, 10, 0.1, 1, 0])
    features[0::2, 1] += 3
    head = fit_head(features, l2=0.5)
    scale = features.std(0)
    weight = torch.tensor(head["weight"], dtype=torch.float64, requires_grad=True)
    margins = (features[0::2] - features[1::2]) @ weight
    standard = torch.where(scale > 1e-9, weight * scale, 0.0)
    loss = torch.nn.functional.softplus(-margins).sum() + 0.25 * standard.square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    assert gradient[:4].abs().max() < 1e-6
    assert head["weight"][4] == 0  # it never varies
    assert head["weight"][1] > 0
    assert apply(head, features) == pytest.approx((features @ weight.detach()).tolist())


def test_bradley_terry_learns_an_order_and_is_kept_in_the_cache(
    tiny_model: Path, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = BradleyTerryConfig(model=str(tiny_model), layer=1, l2=0.01, pairs=60)
    model = BradleyTerry(config)
    model.fit(pairs(80))
    right, count = held_out_accuracy(model, pairs(200)[120:])
    assert right / count > 0.9
    assert list(model.learns_from(pairs(80))) == pairs(60)
    assert model.facts()["pairs"] == 60
    assert model.facts()["pairs_offered"] == 80
    (folder,) = (own_cache / "rewards").glob("bradley_terry-*")
    assert json.loads((folder / "head.json").read_text())["training_accuracy"] > 0.9
    assert "training bradley_terry on 60 pairs" in capsys.readouterr().err
    again = BradleyTerry(config)
    again.fit(pairs(80))
    assert "training" not in capsys.readouterr().err
    assert again.score(ASKED) == model.score(ASKED)
    other = BradleyTerry(config)
    other.fit(pairs(59))
    assert "training bradley_terry on 59 pairs" in capsys.readouterr().err


def test_pairs_whose_prompts_differ_in_a_tool_call_are_not_the_same_pairs(
    tiny_model: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    monkeypatch.setattr(BradleyTerry, "train", lambda self, pairs, folder: fitted.append(len(pairs)))
    for name in ("cos", "sin", "cos"):
        call = Message("assistant", "", extra={"tool_calls": [{"function": {"name": name, "arguments": {}}}]})
        prompt = (Message("user", "hi"), call)
        assert len({Answered(prompt, "a"), Answered(prompt, "a")}) == 1
        BradleyTerry(BradleyTerryConfig(model=str(tiny_model))).fit([Pair(prompt, "better", "worse")])
    assert len(fitted) == 2


def test_bradley_terry_without_a_fit_or_with_too_high_a_layer_says_so(tiny_model: Path, own_cache: Path) -> None:
    with pytest.raises(RuntimeError, match="fitted first"):
        BradleyTerry(BradleyTerryConfig(model=str(tiny_model))).score(ASKED)
    with pytest.raises(ConfigError, match=r"the model has 2 layers \(task.reward.layer = 10\)"):
        BradleyTerry(BradleyTerryConfig(model=str(tiny_model))).fit(pairs(4))
    assert not list((own_cache / "rewards").glob("bradley_terry-*"))


@pytest.mark.slow
def test_the_whole_backbone_learns_an_order_and_comes_out_the_same_every_time(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = BradleyTerryFullConfig(model=str(tiny_model), lr=3e-3, epochs=3, batch_pairs=4)
    scores = []
    for name in ("one", "two"):
        monkeypatch.setenv("SHIQBENCH_CACHE", str(tmp_path / name))
        model = BradleyTerryFull(config)
        model.fit(pairs(48))
        scores.append(model.score(ASKED))
    assert scores[0] == scores[1]
    right, count = held_out_accuracy(model, pairs(200)[120:])
    assert right / count > 0.9


def test_the_built_in_ones_are_listed_with_their_settings() -> None:
    found = registry()
    assert {"bradley_terry", "bradley_terry_full", "classifier"} <= set(found.rewards)
    for spec in found.rewards.values():
        assert set(spec.load_config().model_fields) == set(spec.load().__orig_bases__[0].__args__[0].model_fields)
