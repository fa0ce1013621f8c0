import dataclasses
import json
import re
from importlib.metadata import EntryPoint

import pytest

from keras_flan.data.mixtures.mixture import Mixture
from keras_flan.data.records.example import Example
from keras_flan.data.records.writing import write_records
from keras_flan.data.templates import own as own_families
from keras_flan.data.templates.families import (
    BASIC_FORMATS,
    Format,
    TemplateFamily,
)
from keras_flan.data.templates.library import (
    LIBRARY,
    languages,
    library_families,
    load_family,
)
from keras_flan.data.templates.own import register_family
from keras_flan.data.templates.task import Task
from keras_flan.errors import InputError
from keras_flan.generation import extract_answer
from keras_flan.schema import read_yaml
from keras_flan.testing import check_templates

DIRECT = (Format.zero_shot_direct, Format.few_shot_direct)
DERIVED = (
    Format.zero_shot_no_options,
    Format.few_shot_no_options,
    Format.few_shot_mixed,
)
COT_TASKS = [
    *("aqua", "creak", "ecqa", "esnli", "gsm8k", "qasc", "qed"),
    *("sensemaking", "strategyqa"),
]

# One of each kind; the default tests do without the rest.
SOME = ("bbh", "esnli", "generic", "mmlu", "squad", "natural_instructions")


def test_library_has_the_promised_templates():
    assert {*COT_TASKS, "generic", "squad", "mmlu", "bbh"} <= set(
        library_families()
    )
    for name in library_families():
        family = load_family(name)
        assert family.name == name
        for format in Format:
            templates = family.templates(format)
            cot_task = name in (*COT_TASKS, "generic")
            if format in (BASIC_FORMATS if cot_task else DIRECT):
                assert templates
            if templates and format not in DERIVED and name != "t0":
                assert len(templates) >= 10
            # The same words may stand twice, but not in the same style.
            assert len(set(templates)) == len(templates)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in SOME else pytest.mark.slow)
        for name in library_families()
    ],
)
def test_every_family_keeps_its_promises(name):
    examples = [
        {
            field: "red\nblue" if field == "options" else f"{field} {number}"
            for field in load_family(name).fields
        }
        for number in range(3)
    ]
    check_templates(name, examples)


@pytest.mark.parametrize("name", [*COT_TASKS, "generic"])
def test_reasoned_targets_end_with_a_phrase_that_extraction_finds(name):
    family = load_family(name)
    for format in (Format.zero_shot_cot, Format.few_shot_cot):
        targets = [str(t.target) for t in family.templates(format)]
        for target in targets:
            assert re.search(r"\{rationale\}[ \n]", target)
            assert re.search(r"(?i)answer(:| is) \{answer\}\.$", target)
        phrases = {target.split("{rationale}")[1] for target in targets}
        assert len(phrases) >= 5


def test_zero_shot_inputs_of_a_family_differ():
    for name in library_families():
        family = load_family(name)
        for format in (Format.zero_shot_direct, Format.zero_shot_cot):
            inputs = [t.input for t in family.templates(format)]
            assert len(set(inputs)) == len(inputs)


def test_styles_turn_over_unless_named():
    styles = list(read_yaml(LIBRARY / "_styles.yaml"))
    assert len(styles) >= 10
    family = load_family("bbh")
    used = [t.style.name for t in family.few_shot_direct]
    assert used == styles[: len(used)]
    assert load_family("generic").few_shot_cot[9].style.name == (
        "human_assistant"
    )


def test_few_shot_layout():
    template = load_family("squad").few_shot_direct[0]
    assert str(template.query) == "Q: {context}\n{question}\nA:"
    assert str(template.solved) == "Q: {context}\n{question}\nA: {answer}"
    assert template.separator == "\n\n"


FAMILY = """\
family: mine
fields: [question, answer]
zero_shot_direct:
- {input: "Q: {question}", target: "{answer}"}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("family:", "famly:", "famly: unknown key. Did you mean 'family'?"),
        (
            "Q: {question}",
            "Q: {qestion}",
            "zero_shot_direct.0.input: unknown field 'qestion'; it is not "
            "among the family's fields. Did you mean 'question'?",
        ),
        (
            '"{answer}"',
            '"{answer"',
            "zero_shot_direct.0.target: single '{' at character 0",
        ),
        (
            "target:",
            "targt:",
            "zero_shot_direct.0.targt: unknown key. Did you mean 'target'?",
        ),
        (
            'er}"}',
            'er}", style: qa}',
            "zero_shot_direct.0.style: only few-shot templates have a style",
        ),
        ("zero_shot_direct:\n- {", "x: {", "x: unknown key"),
    ],
)
def test_bad_family_file(tmp_path, old, new, message):
    path = tmp_path / "mine.yaml"
    path.write_text(FAMILY)
    assert load_family(path).fields == ("question", "answer")
    path.write_text(FAMILY.replace(old, new))
    with pytest.raises(InputError) as error:
        load_family(path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_family_without_templates(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("family: mine\nfields: [question]\n")
    with pytest.raises(InputError, match="no templates; give at least one"):
        load_family(path)


def test_unknown_style(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        FAMILY.replace("zero", "few").replace('er}"}', 'er}", style: qaa}')
    )
    with pytest.raises(InputError, match=r"'qaa'\. Did you mean 'qa'"):
        load_family(path)


def test_unknown_family_and_missing_file(tmp_path):
    with pytest.raises(InputError, match="Did you mean 'gsm8k'"):
        load_family("gsm8")
    with pytest.raises(InputError, match="no such file"):
        load_family(tmp_path / "none.yaml")


def test_options_need_the_options_field(tmp_path):
    path = tmp_path / "mine.yaml"
    text = FAMILY.replace("{question}", "{options_}")
    path.write_text(text)
    with pytest.raises(InputError, match="unknown field 'options_'"):
        load_family(path)
    path.write_text(text.replace("[question,", "[options,"))
    family = load_family(path)
    assert family.record_fields("zero_shot_direct") == {"options", "answer"}


def test_library_is_as_wide_as_the_paper():
    kinds = {name.partition("_")[0] for name in library_families()}
    assert len(library_families()) >= 60
    assert len(kinds) >= 45


def test_inverted_targets_do_not_stand_in_their_inputs():
    for name in library_families():
        family = load_family(name)
        for format in (Format.zero_shot_inverted, Format.few_shot_inverted):
            for template in family.templates(format):
                # A prompt may say which languages it is about.
                given = set(template.input.fields)
                given -= {"source_language", "target_language"}
                assert given.isdisjoint(template.target.fields), template


def test_every_family_shows_what_its_targets_need():
    # A target of an option's marker or letter needs the options in sight.
    needs = {
        "styled_choice_": "styled_options_",
        "letter_": "lettered_options_",
    }
    for name in library_families():
        family = load_family(name)
        for format in Format:
            for template in family.templates(format):
                for answer, shown in needs.items():
                    if answer in template.target.fields:
                        assert shown in template.input.fields, (name, template)


@pytest.mark.parametrize("language", languages())
def test_localised_answer_phrases_are_cues_of_extraction(language):
    family = load_family(f"mgsm_{language}")
    assert family.name == f"mgsm_{language}"
    values = {"rationale": "7 + 8 = 15 x 2 = 30", "answer": "1234"}
    for format in (Format.zero_shot_cot, Format.few_shot_cot):
        for template in family.templates(format):
            text = template.target.render(values)
            answer = extract_answer(text, "number")
            assert answer.value == "1234", text
            assert answer.rule in ("phrase", "label"), text
            # The numbers that follow don't count.
            assert extract_answer(text + " 99", "number").value == "1234"


def test_all_languages_have_the_same_phrases():
    keys = {tuple(phrases) for phrases in languages().values()}
    assert len(languages()) == 13
    assert len(keys) == 1
    triggers = {phrases["trigger"] for phrases in languages().values()}
    assert len(triggers) == 13


@pytest.mark.realdata
def test_labels_are_those_of_the_published_exemplars(realdata):
    path = realdata / "mgsm" / "mgsm_exemplars.json"
    published = json.loads(path.read_text(encoding="utf-8"))
    for language, exemplars in published["MGSM_EXEMPLARS"].items():
        phrases = languages()[language]
        assert exemplars["1"]["q"].startswith(phrases["question_label"])
        assert exemplars["1"]["a"].startswith(phrases["steps_label"])
        assert exemplars["1"]["a"].endswith(phrases["phrase"].format(answer=11))


def test_own_styles_named_lists_headers_and_included_lists(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        """\
family: mine
fields: [question, answer, rationale]
include: _inversion
shots: 1
styles:
  mine:
    inputs_prefix: "<{{"
    targets_prefix: "}}>"
    x_y_delimiter: "|"
    example_separator: ";"
few_shot_direct: few_shot_cot
few_shot_cot:
- {header: "Hello. ", input: "{question}", target: "{answer}"}
"""
    )
    family = load_family(path)
    assert family.shots == 1
    assert len(family.zero_shot_inverted) == 18
    assert family.few_shot_direct == family.few_shot_cot
    (template,) = family.few_shot_cot
    assert str(template.header) == "Hello. "
    assert template.style.inputs_prefix == "<{"
    assert template.separator == ";"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("include: _inverson", "_inverson: no such library file"),
        ("few_shot_direct: zero_shot", "few_shot_direct: expected a list"),
        ("shots: 0", "shots: "),
        (
            'styles: {a: {inputs_prefix: "{x}", targets_prefix: "", '
            'x_y_delimiter: "", example_separator: ""}}',
            "styles.a.inputs_prefix: unknown field 'x'",
        ),
        (
            'one_shot_inline: [{input: "a", target: "b", header: "c"}]',
            "one_shot_inline.0.header: only few-shot templates have a header",
        ),
    ],
)
def test_bad_keys_of_families(tmp_path, line, message):
    path = tmp_path / "mine.yaml"
    path.write_text(FAMILY + line + "\n")
    with pytest.raises(InputError) as error:
        load_family(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_instructions_with_and_without_input():
    family = load_family("instruction_input")
    assert family.record_fields("zero_shot_direct") == {"instruction", "answer"}
    # Another input is another question.
    assert family.question_fields == {"instruction", "input"}
    examples = [
        {"instruction": "Name a colour.", "answer": "red"},
        {"instruction": "Translate.", "input": "rouge", "answer": "red"},
    ]
    check_templates(
        family,
        examples,
        prompts={"zero_shot_direct": ("Name a colour.", "red")},
    )
    check_templates(
        family,
        examples[::-1],
        prompts={"zero_shot_direct": ("Translate.\n\nrouge", "red")},
    )


OWN = {
    "family": "own",
    "fields": ["question", "answer"],
    "zero_shot_direct": [{"input": "{question}?", "target": "{answer}"}],
}


def test_families_are_python_objects_too(tmp_path):
    own = load_family(OWN)
    assert own == load_family(own)
    file = tmp_path / "own.py"
    file.write_text(f"OWN = {OWN!r}\nnothing = 3\n")
    assert load_family(f"{file}:OWN") == own
    assert load_family(f"{__name__}:OWN") == own
    for source, message in (
        (f"{file}:OWNS", r"no 'OWNS'\. Did you mean 'OWN'"),
        (f"{file}:nothing", "expected a `TemplateFamily`, or a dict"),
        ("nowhere.py:OWN", "nowhere.py: no such file"),
        ("no_such_module:OWN", "No module named 'no_such_module'"),
        ({**OWN, "fields": ["answer"]}, "own: .*unknown field 'question'"),
        (dataclasses.replace(own, fields=("answer",)), "unknown field 'quest"),
        (TemplateFamily("none", ()), "none: no templates"),
    ):
        with pytest.raises(InputError, match=message):
            load_family(source)


def test_registered_families_are_known_by_name(monkeypatch):
    with register_family("own", OWN):
        assert load_family("own") == load_family(OWN)
        with pytest.raises(InputError, match="'own' already"):
            register_family("own", dict(OWN))
        with pytest.raises(InputError, match="Did you mean 'own'"):
            load_family("owm")
    with pytest.raises(InputError, match="no template family 'own'"):
        load_family("own")
    # As a package brings them.
    entry = EntryPoint("brought", f"{__name__}:OWN", own_families.GROUP)
    monkeypatch.setattr(
        own_families, "_entry_points", lambda: {"brought": entry}
    )
    assert load_family("brought") == load_family(OWN)


def test_a_mixture_takes_templates_in_python_but_records_do_not(tmp_path):
    (tmp_path / "own.py").write_text(f"OWN = {OWN!r}\n")
    examples = [Example({"question": "a", "answer": "b"}, "toy")]
    folder = tmp_path / "toy"
    write_records(examples, folder, name="toy")
    (tmp_path / "m.yaml").write_text(
        "records: .\ngroups: {a: {tasks: [{name: toy, templates: "
        "'own.py:OWN'}]}}\n"
    )
    mixture = Mixture.from_yaml(tmp_path / "m.yaml")
    assert mixture.tasks[0].task.family == load_family(OWN)
    write_records(examples, folder, name="toy", templates="own.py:OWN")
    with pytest.raises(InputError, match="records name no code"):
        Task.from_directory(folder)
