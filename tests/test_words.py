"""Both languages have the same texts, and no page asks for a text that does not exist."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from cfviz.data.decode import NOTES
from cfviz.data.header import SENTENCES
from cfviz.data.samples import gallery
from cfviz.lessons.course import load_lessons
from cfviz.models.weights.errors import MESSAGES
from cfviz.ui.shell.frame import NAVIGATION
from cfviz.words import (
    LANGUAGES,
    TORN,
    TRANSLATIONS,
    about,
    decimal,
    lookup,
    placeholders,
    preferred,
    section_words,
    signed,
    translator,
)

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([ROOT / "app.py", *(ROOT / "pages").glob("*.py"), *(ROOT / "cfviz" / "ui").rglob("*.py")])
SHOWN = sorted(
    path
    for room in ("ui", "figures", "report", "site", "measured", "web", "paper", "lessons")
    for path in (ROOT / "cfviz" / room).rglob("*.*")
    if path.suffix in (".py", ".js")
)
SECTIONS = sorted(path.stem for path in (TRANSLATIONS / "en").glob("*.json"))


def catalogue(lang: str, section: str) -> dict[str, str]:
    return json.loads((TRANSLATIONS / lang / f"{section}.json").read_text(encoding="utf-8"))


def literal_keys(path: Path) -> list[str]:
    """Keys in calls of `t("…")`, `x.t("…")` and `Note("…")` that are written out in full."""
    keys = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        branches = [node.args[0]]
        if isinstance(node.args[0], ast.IfExp):
            branches = [node.args[0].body, node.args[0].orelse]
        if name in ("t", "Note"):
            keys += [b.value for b in branches if isinstance(b, ast.Constant) and isinstance(b.value, str)]
    return keys


def test_the_languages_have_the_same_files() -> None:
    files = {lang: {path.name for path in (TRANSLATIONS / lang).glob("*.json")} for lang in LANGUAGES}
    assert files["en"] == files["zh-Hant"]
    assert {"common.json", "home.json", "predict.json", "errors.json"} <= files["en"]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_languages_have_the_same_keys_and_placeholders(section: str) -> None:
    english, chinese = catalogue("en", section), catalogue("zh-Hant", section)
    assert list(english) == list(chinese)
    for key, text in english.items():
        assert text.strip(), f"{section}.{key} is empty"
        assert chinese[key].strip(), f"{section}.{key} is empty in Chinese"
        assert placeholders(text) == placeholders(chinese[key]), f"{section}.{key}"


@pytest.mark.parametrize("section", SECTIONS)
def test_chinese_has_chinese_punctuation(section: str) -> None:
    for key, text in catalogue("zh-Hant", section).items():
        found = re.search(r"[\u4e00-\u9fff」）][,:;?!]|[,;][\u4e00-\u9fff「（]", text)
        assert not found, f"{section}.{key}: {found[0]!r} in {text!r}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_key_in_the_source_exists(path: Path) -> None:
    missing = [key for key in literal_keys(path) for lang in LANGUAGES if lookup(lang, key) is None]
    assert not missing


def test_the_source_walk_finds_keys() -> None:
    keys = [key for path in SOURCES for key in literal_keys(path)]
    assert len(keys) > 40
    assert "common.show_code" in keys


@pytest.mark.parametrize("lang", LANGUAGES)
def test_keys_built_at_run_time_exist(lang: str) -> None:
    keys = [f"images.error_{code}" for code in SENTENCES] + [f"images.note_{code}" for code in NOTES]
    keys += [f"errors.checkpoint_{code}" for code in MESSAGES]
    keys += [entry.title_key for entry in gallery()]
    keys += [f"common.page_{page}" for group in NAVIGATION.values() for page in group]
    keys += [f"common.nav_{group}" for group in NAVIGATION]
    pages = (ROOT / "pages").glob("[!_]*.py")
    keys += [f"{page.stem}.{part}" for page in pages for part in ("title", "lede")]
    keys += [f"errors.link.{name}" for name in ("model", "photo", "size", "dtype", "lang", "own_photo")]
    assert [key for key in keys if lookup(lang, key) is None] == []


def test_refusals_state_their_facts_in_both_languages() -> None:
    for code, text in MESSAGES.items():
        assert placeholders(lookup("en", f"errors.checkpoint_{code}") or "") == placeholders(text)


def test_a_translator_fills_placeholders_and_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for lang, words in (
        ("en", {"hello": "hello {name}", "only": "only here"}),
        ("zh-Hant", {"hello": "{name} 你好"}),
    ):
        (tmp_path / lang).mkdir()
        (tmp_path / lang / "some.json").write_text(json.dumps(words), encoding="utf-8")
    monkeypatch.setattr("cfviz.words.TRANSLATIONS", tmp_path)
    t = translator("zh-Hant")
    assert t("some.hello", name="Ann") == "Ann 你好"
    assert t("some.only") == "only here"
    assert t("some.nowhere") == "some.nowhere"
    assert t("nowhere.at_all") == "nowhere.at_all"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_export_has_one_name_on_all_pages(lang: str) -> None:
    """The same file was "Numbers", "CSV", "Values (CSV)" and "Data (CSV)"."""
    common = catalogue(lang, "common")
    names = {"save_picture": common["png"], "save_vector": common["svg"], "save_numbers": common["csv"]}
    found = [
        (section, key, text)
        for section in SECTIONS
        for key, text in catalogue(lang, section).items()
        if key.removeprefix("figure.") in names
    ]
    assert len(found) >= 10
    assert [one for one in found if one[2] != names[one[1].removeprefix("figure.")]] == []


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="'fr' is not known; choose one of en, zh-Hant"):
        translator("fr")


@pytest.mark.parametrize(
    ("locale", "lang"),
    [("zh-TW", "zh-Hant"), ("zh-Hant-HK", "zh-Hant"), ("en-GB", "en"), ("de", "en"), (None, "en")],
)
def test_the_browsers_locale_chooses_the_initial_language(locale: str | None, lang: str) -> None:
    assert preferred(locale) == lang


def test_chinese_bold_ends_before_its_punctuation() -> None:
    """Markdown does not read `**粗體。**下一句` as bold: the closing mark would need a space after it."""
    marks = "，。：；！？、）」』"
    for file in (TRANSLATIONS / "zh-Hant").glob("*.json"):
        for key, text in json.loads(file.read_text("utf-8")).items():
            parts = str(text).split("**")
            for bold, after in zip(parts[1::2], parts[2::2], strict=False):
                glued = after[:1].strip() and after[0] not in marks
                assert not (glued and bold and bold[-1] in marks), f"{file.name} {key}: {text}"


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"), [(1.318, "1.32", "+1.32"), (-0.4, "−0.40", "−0.40")]
)
def test_numbers_have_a_true_minus_sign(value: float, plain: str, with_sign: str) -> None:
    assert (decimal(value), signed(value)) == (plain, with_sign)
    assert signed(100 * value, 0) == with_sign[0] + f"{abs(100 * value):.0f}"


def test_no_change_has_no_sign() -> None:
    """The lab showed "+0" where nothing had changed, and −0.0 for what rounds to it."""
    assert [signed(x, 0) for x in (0, -0.0, 0.4, -0.4, 0.6)] == ["0", "0", "0", "0", "+1"]
    assert (signed(-0.001), decimal(-0.001)) == ("0.00", "0.00")


UNITS = r"%|px|ms|s|bits?|points?|[kMG]B|MP|像素|個?百分點"


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_line_tears_a_number_from_its_unit(lang: str) -> None:
    """On a phone "12 %" and "320 px" stood on two lines. The files hold plain spaces, readers get others."""
    torn = re.compile(rf"[0-9}}] (?:{UNITS})(?![A-Za-z])|[0-9}}] ×\s[0-9{{]|[0-9}}]\s× [0-9{{]")
    plain = [text for section in SECTIONS for text in catalogue(lang, section).values() if torn.search(text)]
    assert len(plain) > 100
    read = [text for section in SECTIONS for text in section_words(section, lang).values()]
    lessons = [
        load_lessons().text(lang, key) for key, text in load_lessons().texts[lang].items() if "{" not in text
    ]
    assert [text for text in read + lessons if torn.search(text)] == []
    assert not torn.search(translator(lang)("common.comma", n=1))


def test_a_filled_sentence_is_joined_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "some.json").write_text('{"x": "{size} of {part}"}', encoding="utf-8")
    monkeypatch.setattr("cfviz.words.TRANSLATIONS", tmp_path)
    assert translator("en")("some.x", size="2.0 MB", part="12 %") == "2.0\u00a0MB of 12\u00a0%"


def test_what_is_written_in_code_is_joined() -> None:
    """`f"{x} %"` in Python and `${x} %` in JavaScript bypass the catalogue."""
    torn = re.compile(rf"\}} (?:{UNITS})(?![A-Za-z{{])")
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in SHOWN}
    assert len(texts) > 100
    assert {name: found for name, text in texts.items() if (found := torn.findall(text))} == {}


@pytest.mark.parametrize("lang", LANGUAGES)
def test_words_of_the_figures_break_no_lines_by_markup(lang: str) -> None:
    """They are drawn as plain text: below the lab's board "<br>" stood in a Chinese sentence."""
    words = {
        f"{section}.{key}": text
        for section in SECTIONS
        for key, text in catalogue(lang, section).items()
        if key.startswith("figure.")
    }
    assert len(words) > 100
    assert [key for key, text in words.items() if "<br" in text] == []


def test_a_colon_is_written_as_the_language_writes_it() -> None:
    """ "MLP 分支: 設為零" stood above the lab's board."""
    assert about("Head 1", "+0.50") == "Head 1: +0.50"
    assert about("第 1 個頭", "+0.50") == "第 1 個頭：+0.50"
    numbers = re.compile(r"\$\{name\}: \$\{n\}|\$\{k\}: \$\{show|new Error")  # P3: 12, 4 × 4: 0.3
    for path in (ROOT / "cfviz" / "web").rglob("*.js"):
        found = re.findall(r".*\}: \$\{.*", path.read_text("utf-8"))
        assert all(numbers.search(line) for line in found), f"{path.name}: {found}"


def test_no_space_stays_between_chinese_characters() -> None:
    """The spaces around a field are for Latin letters: 以 imagenet 做的, but 以場景做的."""
    said = translator("zh-Hant")("common.trained_short", data="照片合成的場景", passes="6 個 epoch")
    assert said.startswith("以照片合成的場景做的")
    assert "以 imagenet-1k 做的" in translator("zh-Hant")(
        "common.trained_short", data="imagenet-1k", passes=""
    )
    assert "以我的 照片做的" in translator("zh-Hant")("common.trained_short", data="我的 照片", passes="")


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_export_has_one_name_everywhere(lang: str) -> None:
    """A file of numbers was "Data", "Results as a table", "Save as a table" and "Data of this view"."""
    found: dict[str, set[str]] = {}
    for section in SECTIONS:
        for key, text in catalogue(lang, section).items():
            kind = re.search(r"[(（](CSV|JSON|HTML)[)）]$", text)
            if kind and f"{section}.{key}" not in (
                "study.lines",
                "report.save",
                "report.save_survey",
            ):  # a field; the whole session, also with a survey
                found.setdefault(kind[1], set()).add(text)
    assert set(found) == {"CSV", "JSON", "HTML"}
    assert all(len(names) == 1 for names in found.values()), found


def test_the_browser_joins_numbers_to_the_same_units() -> None:
    """The site's verdicts had a rule of their own: they joined words to a number's sign, too."""
    found = re.search(
        r"TORN = (\[.+?\n\]);", (ROOT / "cfviz/web/shared/text.js").read_text("utf-8"), re.DOTALL
    )
    assert found
    assert "|".join(re.findall(r'"(.+)"', found[1])) == TORN.pattern
