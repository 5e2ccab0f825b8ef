"""The browser's code: every import exists, and the joiner makes one script that runs."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath
from typing import Any

import pytest

from cfviz import web

FILES = {path.relative_to(web.WEB).as_posix(): path.read_text("utf-8") for path in web.WEB.rglob("*.js")}
MODULES = sorted(FILES)
ENTRIES = [name for name in MODULES if "export default" in FILES[name]]
IMPORT = re.compile(r'^import\s*\{([^}]*)\}\s*from\s*"([^"]+)";', re.MULTILINE)


FIGURES = [figure for figure in vars(web).values() if isinstance(figure, web.Figure)]
SHEETS = sorted(web.WEB.rglob("*.css"))
LONGEST = 110  # characters per line, as in Python


def imported(name: str) -> dict[str, str]:
    """The modules that a module imports, and the names it takes from each."""
    found = IMPORT.findall(FILES[name])
    return {normpath(f"{Path(name).parent.as_posix()}/{path}"): names for names, path in found}


def test_every_export_is_imported_by_another_module() -> None:
    taken = {
        (there, part.split(" as ")[0].strip())
        for name in MODULES
        for there, names in imported(name).items()
        for part in names.split(",")
    }
    kind = re.compile(r"^export (?:async )?(?:function\*?|class|const) (\w+)", re.MULTILINE)
    assert not {(name, one) for name in MODULES for one in kind.findall(FILES[name])} - taken


@pytest.fixture
def tree(tmp_path: Path, monkeypatch) -> Any:
    """A function that writes modules into an empty folder that stands for `cfviz/web`."""
    monkeypatch.setattr(web, "WEB", tmp_path)

    def write(**modules: str) -> None:
        web.script.cache_clear()
        for name, text in modules.items():
            (tmp_path / f"{name}.js").write_text(text, "utf-8")

    yield write
    web.script.cache_clear()


@pytest.mark.parametrize("name", [*MODULES, *(path.relative_to(web.WEB).as_posix() for path in SHEETS)])
def test_no_line_is_too_long(name: str) -> None:
    lines = enumerate(web.text(name).splitlines(), 1)
    assert not [f"{name}:{number}" for number, line in lines if len(line) > LONGEST]


@pytest.mark.parametrize("name", MODULES)
def test_every_import_names_an_export_of_an_existing_file(name: str) -> None:
    assert len(imported(name)) == len(re.findall("^import", FILES[name], re.MULTILINE))
    for there, names in imported(name).items():
        assert there in FILES, f"{name} imports {there}"
        for one in filter(None, (part.split(" as ")[0].strip() for part in names.split(","))):
            kind = rf"^export (async )?(function\*?|class|const) {re.escape(one)}\b"
            assert re.search(kind, FILES[there], re.MULTILINE), f"{name} imports {one} from {there}"


def test_python_holds_no_script() -> None:
    """A script in a Python string would be neither linted nor formatted."""
    files = [path for path in web.WEB.parent.rglob("*.py") if "addEventListener" in path.read_text("utf-8")]
    assert not files


def test_every_module_is_part_of_some_figure() -> None:
    reached: set[str] = set()
    todo = list(ENTRIES)
    while todo:
        name = todo.pop()
        reached.add(name)
        todo += imported(name)
    assert reached == set(MODULES)


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_joined_script_has_one_export_and_no_import(entry: str) -> None:
    joined = web.script(entry)
    assert len(re.findall(r"^export\b", joined, re.M)) == 1
    assert not re.search(r"^import\b", joined, re.M)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.folder)
def test_a_figure_alone_exports_nothing_and_ends_no_script_early(figure: web.Figure) -> None:
    page = figure.alone(b"</script>")
    assert not re.search(r"^(import|export)\b", page, re.M)
    assert page.count("</script>") == page.count("<script") == 2


def test_figures_together_have_each_module_once() -> None:
    page = web.together([(figure, b"</script>") for figure in FIGURES])
    assert not re.search(r"^(import|export)\b", page, re.M)
    assert page.count("</script>") == page.count("<script") == len(FIGURES) + 1
    scopes = re.findall(r"^const (\$\w+) = \(\(\) => \{$", page, re.M)
    assert len(scopes) == len(set(scopes))
    assert {"$" + figure.folder + "_main" for figure in FIGURES} <= set(scopes)
    assert len(page) < 0.7 * sum(len(figure.script) for figure in FIGURES)


def test_joined_modules_keep_their_own_names(tree) -> None:
    tree(
        a='import { size as big } from "./b.js";\nimport { twice } from "./c.js";\nconst own = 1;\n'
        "export default () => twice(big) + own;\n",
        b="const own = 20;\nexport const size = own;\n",
        c='import { size } from "./b.js";\nexport function twice(x) { return x + size; }\n',
    )
    joined = web.script("a.js")
    assert joined.count("const own") == 2
    assert joined.count("$b = ") == 1
    assert "const { size: big } = $b;" in joined


@pytest.mark.parametrize(
    ("modules", "sentence"),
    [
        ({"a": 'import { x } from "./gone.js";'}, r"a\.js imports \./gone\.js, which leads nowhere"),
        (
            {"a": 'import { x } from "./b.js";', "b": "const x = 1;"},
            r"a\.js imports x from \./b\.js, which exports no such name",
        ),
        (
            {"a": 'import { x } from "./b.js";', "b": 'import { y } from "./c.js";\nexport const x = 1;',
             "c": 'import { x } from "./b.js";\nexport const y = 1;'},
            r"in a circle: a\.js -> b\.js -> c\.js -> b\.js",
        ),
        ({"a": 'import * as all from "./b.js";', "b": "export const x = 1;"}, "a.js: this form of import"),
        ({"a": 'import { y } from "./b.js";', "b": "export { x };\nexport const y = 2;"}, "b.js: this form"),
    ],
)  # fmt: skip
def test_modules_that_cannot_be_joined_are_refused_in_one_sentence(
    tree, modules: dict[str, str], sentence: str
) -> None:
    tree(**modules)
    with pytest.raises(ValueError, match=sentence):
        web.script("a.js")


@pytest.fixture(scope="module")
def blank(browser: Any) -> Iterator[Any]:
    """A page without content, one for all scripts: a window takes half a second of processor time."""
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.browser
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_browser_reads_the_joined_script(entry: str, blank: Any) -> None:
    kind = blank.evaluate(
        """async (code) => {
            const file = new Blob([code], { type: "text/javascript" });
            return typeof (await import(URL.createObjectURL(file))).default;
        }""",
        web.script(entry),
    )
    assert kind == "function"


@pytest.mark.browser
def test_a_table_is_saved_as_spreadsheets_and_pandas_read_it(blank: Any) -> None:
    rows = [["類別", 'name, "quoted"'], ["two\nlines", None], [0.1, -3e-07], [True, ""], ["=1+1, a", "-0.5"]]
    name, content = blank.evaluate(
        """([code, rows]) => {
            const saved = [];
            new Function("saved", "rows", `${code}
              save = (name, blob) => saved.push(name, blob);
              saveTable("numbers", rows, "a note");`)(saved, rows);
            return saved[1].arrayBuffer().then((all) => [saved[0], [...new Uint8Array(all)]]);
        }""",
        [re.sub(r"^import .*$|^export ", "", web.text("save/files.js"), flags=re.M), rows],
    )
    assert name == "numbers.csv"
    assert bytes(content).startswith(codecs.BOM_UTF8)
    note, text = bytes(content).decode("utf-8-sig").split("\r\n", 1)
    assert note == "# a note"
    read = list(csv.reader(io.StringIO(text, newline="")))
    assert read == [rows[0], ["two\nlines", ""], ["0.1", "-3e-7"], ["true", ""], ["'=1+1, a", "-0.5"]]
