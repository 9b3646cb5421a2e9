"""Packages next to torch whose build does not match it: refused with the command that repairs it, and repaired."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ask

from shiqbench.base.companions import check_companions, remove_companions, versions
from shiqbench.base.errors import ConfigError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="builds are told apart by tag on Linux only")

OTHER_BUILD = "0.28.0" if versions("torch")["torch"].endswith("+cpu") else "0.28.0+cpu"


def install(site: Path, name: str = "torchvision", version: str = OTHER_BUILD) -> None:
    """Write an installed distribution as pip leaves it."""
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n')
    facts = site / f"{name}-{version}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (facts / "INSTALLER").write_text("pip\n")
    files = [f"{name}/__init__.py", *(f"{facts.name}/{n}" for n in ("METADATA", "INSTALLER", "RECORD"))]
    (facts / "RECORD").write_text("".join(f"{file},,\n" for file in files))


@pytest.fixture
def other_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")


@pytest.mark.usefixtures("other_build")
@pytest.mark.parametrize("words", [("run", "--algo", "shiq", "--task", "bfcl_v3"), ("doctor", "--model", "org/model")])
def test_what_needs_a_model_is_refused_in_one_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = ask(*words, cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: torchvision {OTHER_BUILD} with torch ")
    assert "run `shiqbench doctor --fix`, which uninstalls torchvision, torchaudio, torchcodec" in line
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


@pytest.mark.usefixtures("other_build")
def test_a_task_without_a_language_model_is_not_refused(tmp_path: Path) -> None:
    assert ask("run", "--algo", "shiq", "--task", "mdp", "--dry-run", cwd=tmp_path).returncode == 0


@pytest.mark.usefixtures("other_build")
def test_what_pip_leaves_is_said() -> None:
    with pytest.raises(ConfigError, match=r"pip could not uninstall torchvision .*as you installed them"):
        remove_companions()  # the folder is outside the environment


def test_nothing_is_uninstalled_where_builds_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = f"0.28.0{'+cpu' * versions('torch')['torch'].endswith('+cpu')}"
    install(tmp_path, version=version)
    monkeypatch.syspath_prepend(tmp_path)
    check_companions()
    assert remove_companions() == []
    assert versions("torchvision") == {"torchvision": version}


@pytest.mark.slow
def test_doctor_repairs_a_real_environment(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (site / "here.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    for name in ("torchvision", "torchcodec"):
        install(site, name)

    def doctor(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(tmp_path / "env" / "bin" / "python"), "-m", "shiqbench", "doctor", *words]
        env = {**os.environ, "SHIQBENCH_CACHE": str(tmp_path / "cache")}
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=500)

    broken = doctor("--model", "org/model")
    assert "doctor --fix" in broken.stderr
    repaired = doctor("--fix", "--json")
    assert f"uninstalled torchvision {OTHER_BUILD}\nuninstalled torchcodec {OTHER_BUILD}\n" in repaired.stderr
    assert '"none installed, which is fine"' in repaired.stdout
    assert not (site / "torchvision").exists()
