"""Where the site may be written, and the texts that become HTML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from cfviz import web
from cfviz.cli import main
from cfviz.site import build
from cfviz.site.build import LIST
from cfviz.site.pages import FIGURES
from cfviz.words import marked

ROOT = Path(__file__).resolve().parents[2]


def test_a_folder_with_other_files_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "thesis.txt"
    mine.write_text("mine")
    assert main(["site", "--out", str(tmp_path)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("listed", [["../thesis.txt"], ["/etc/passwd"], [""], [3], "thesis.txt", None])
def test_a_list_that_leads_out_of_the_folder_is_no_site(tmp_path: Path, listed: object) -> None:
    out = tmp_path / "dist"
    out.mkdir()
    (out / LIST).write_text(json.dumps({"files": listed}))
    with pytest.raises(ValueError, match="holds other files"):
        build(out)


def test_a_place_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        build(tmp_path / "file")
    with pytest.raises(ValueError, match="there is no folder"):
        build(tmp_path / "none" / "dist")


@pytest.mark.parametrize("address", ["example.org", "javascript:1", "https://", "https://a.b/?x=1"])
def test_what_is_no_address_of_an_app_is_refused(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["site", "--out", str(tmp_path / "dist"), "--app", address])
    assert "is no address of an app" in capsys.readouterr().err


def test_markdown_becomes_html_and_html_does_not() -> None:
    assert marked("**a** `b` [c](https://d.e/)") == '<b>a</b> <code>b</code> <a href="https://d.e/">c</a>'
    paired = "https://d.e/(f).jpg"  # as names of photos have it
    assert marked(f"[c]({paired})") == f'<a href="{paired}">c</a>'
    assert marked("**C** is $C_{in}$, $k$") == "<b>C</b> is <i>C<sub>in</sub></i>, <i>k</i>"
    assert marked("<b>[x](javascript:1)</b>") == "&lt;b&gt;[x](javascript:1)&lt;/b&gt;"


def test_the_workflow_for_github_pages_makes_the_site() -> None:
    flow = yaml.safe_load((ROOT / ".github/workflows/site.yml").read_text("utf-8"))
    assert list(flow[True]) == ["workflow_dispatch"], "nothing is published unless someone asks for it"
    build_steps, publish = flow["jobs"]["build"]["steps"], flow["jobs"]["publish"]
    assert "make site OUT=dist" in [step.get("run") for step in build_steps]
    upload = next(step for step in build_steps if "upload-pages-artifact" in step.get("uses", ""))
    assert upload["with"]["path"] == "dist"
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_no_figure_of_the_site_writes_styles_into_html(figure: web.Figure) -> None:
    """The policy of the site's pages forbids them; `el` and `data-style` set them as properties."""
    assert not re.findall(r"""<[^>]*?\sstyle=["$].*""", figure.script)
