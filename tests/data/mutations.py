"""Small sources of every format, and mutations of them for the importers."""

import copy
import gzip
import json
import re
from html import unescape

from keras_flan.data.importers import import_source
from keras_flan.data.records.shards import read_records
from keras_flan.errors import InputError

TASK = {
    "Definition": ["Tell the colour."],
    "Categories": "Question Answering",
    "Domains": ["Nature"],
    "Positive Examples": [
        {"input": "Sky?", "output": "blue", "explanation": "It is."},
        {"input": "Rose?", "output": "red"},
    ],
    "Instances": [
        {"id": "a", "input": " Grass? ", "output": ["green", "lush"]},
        {"id": "b", "input": "Sky?", "output": "blue"},
        {"id": "c", "input": "Snow?", "output": ["white"]},
    ],
}
QED = {
    "example_id": -3,
    "title_text": "Rome",
    "question_text": "who founded the city",
    "paragraph_text": "It is old . Romulus founded Rome .",
    "annotation": {
        "explanation_type": "single_sentence",
        "selected_sentence": {
            "start": 12,
            "end": 34,
            "string": "Romulus founded Rome .",
        },
        "answer": [
            {
                "paragraph_reference": {
                    "start": 12,
                    "end": 19,
                    "string": "Romulus",
                }
            }
        ],
        "referential_equalities": [
            {
                "question_reference": {
                    "start": 12,
                    "end": 20,
                    "string": "the city",
                },
                "sentence_reference": {
                    "start": 28,
                    "end": 32,
                    "bridge": False,
                    "string": "Rome",
                },
            }
        ],
    },
}
_NONE = {"plaintext_start_byte": -1, "plaintext_end_byte": -1}
TYDI = {
    "question_text": "\u041a\u0442\u043e?",
    "document_plaintext": "\u0419.\n\u042d\u0442\u043e "
    "\u0410\u043d\u043d\u0430.",
    "document_title": "\u0410\u043d\u043d\u0430",
    "language": "russian",
    "example_id": 7,
    "passage_answer_candidates": [
        {"plaintext_start_byte": 0, "plaintext_end_byte": 3},
        {"plaintext_start_byte": 4, "plaintext_end_byte": 20},
    ],
    "annotations": [
        {
            "minimal_answer": _NONE,
            "passage_answer": {"candidate_index": -1},
            "yes_no_answer": "NONE",
        },
        {
            "minimal_answer": {
                "plaintext_start_byte": 11,
                "plaintext_end_byte": 19,
            },
            "passage_answer": {"candidate_index": 1},
            "yes_no_answer": "NONE",
        },
    ],
}
_SQUAD = {
    "data": [
        {
            "title": "Paris",
            "paragraphs": [
                {
                    "context": "Paris is in France.",
                    "qas": [
                        {
                            "id": "english-1",
                            "question": "Where is Paris?",
                            "answers": [{"text": "France", "answer_start": 12}],
                        }
                    ],
                }
            ],
        }
    ]
}
_BIGBENCH = {
    "canary": "canary GUID 0",
    "name": "is_it",
    "examples": [
        {
            "input": "Is ice cold?",
            "target_scores": {"Yes": 1, "No": 0},
            "target": "Yes. It is frozen.",
        },
        {"input": "Is fire cold?", "target_scores": {"Yes": 0, "No": 1}},
    ],
}
_CSQA = {
    "answerKey": "B",
    "question": {
        "stem": "Where is a fish?",
        "choices": [
            {"label": "A", "text": "tree"},
            {"label": "B", "text": "sea"},
        ],
    },
}
ASDIV = """<?xml version="1.0" encoding="UTF-8" ?>
<Corpus><ProblemSet>
<Problem ID="p1"><Body>Tom &amp; Ann have 4 pens.</Body>
<Question>How many?</Question><Answer>4 (pens)</Answer>
<Formula>4=4</Formula></Problem>
<Problem ID="p2"><Body>It is 5.</Body><Question>Is it?</Question>
<Answer>Yes</Answer></Problem>
</ProblemSet></Corpus>
"""


def lines(*values):
    """Returns JSON Lines."""
    return "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values)


_GSM8K = {"question": "2+2?", "answer": "So <<2+2=4>>4.\n#### 4"}

# Format, files (the first is imported, or their folder), options.
_CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hot?"},
        {"role": "assistant", "content": "Fire."},
        {"role": "user", "content": [{"type": "text", "text": "Cold?"}]},
        {"role": "assistant", "content": "Ice."},
    ]
}
_SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Hot?"},
        {"from": "gpt", "value": "Fire."},
    ]
}
_ALPACA = {"instruction": "Add.", "input": "2 and 3", "output": "5"}
SAMPLES = [
    ("gsm8k", {"train.jsonl": lines(_GSM8K, _GSM8K)}, {}),
    (
        "flan-cot",
        {"qasc_train.tsv": 'What?\\n- (A) "x\t(A)\tFirst.\\nThen.\nq\ta\tr\n'},
        {},
    ),
    ("natural-instructions", {"task1_x.json": json.dumps(TASK)}, {}),
    (
        "natural-instructions",
        {"n/task1_x.json": json.dumps(TASK), "n/task2_y.json": "{}"},
        {},
    ),
    (
        "t0",
        {
            "t0.jsonl": lines(
                {
                    "template": "a",
                    "prompt": "Hi?\n",
                    "completion": "Ho<|endoftext|>",
                },
                {"template": "b", "prompt": "A\n\n", "completion": "B"},
            )
        },
        {},
    ),
    ("squad", {"s.json": json.dumps(_SQUAD)}, {}),
    ("tydiqa", {"t.jsonl": lines(TYDI)}, {}),
    ("tydiqa", {"t.json": json.dumps(_SQUAD)}, {}),
    ("mgsm", {"mgsm_sw.tsv": "Ngapi?\t2,125\nWangapi?\t3\n"}, {}),
    (
        "esnli",
        {
            "e/labels.dev": "neutral\nentailment\n",
            "e/s1.dev": "A dog runs . \nA cat . \n",
            "e/s2.dev": "A red dog . \nAn animal . \n",
            "e/preproc1_expl_1.dev": "not all dogs .\na cat is one .\n",
        },
        {},
    ),
    ("qed", {"qed.jsonlines": lines(QED, QED)}, {}),
    (
        "bbh",
        {"b.json": json.dumps({"examples": [{"input": "a", "target": "b"}]})},
        {},
    ),
    ("mmlu", {"x_test.csv": '"Q, 1?\n",a,b,"c\nd",d,A\nQ2,a,b,c,d,B\n'}, {}),
    ("bigbench", {"task.json": json.dumps(_BIGBENCH)}, {}),
    (
        "math-problems",
        {
            "s.json": json.dumps(
                [
                    {"Body": "2 pens.", "Question": "How many?", "Answer": 2.0},
                    {"sQuestion": " 1 + 1? ", "lSolutions": ["2"]},
                ]
            )
        },
        {},
    ),
    ("asdiv", {"a.xml": ASDIV}, {}),
    ("conll", {"c.conll": "Ada\tB-person\nsaid\tO\n\nHi\tO\n"}, {}),
    ("slots", {"valid": "by:O ada:B-Actor <=> <NULL>\n"}, {}),
    ("csv", {"c.csv": 'q,a\n"one, ""two""",1\nthree,3\n'}, {}),
    (
        "tsv",
        {"t.tsv": 'o\t"q\t1\t2\t0\n'},
        {"columns": {"question": "#2", "options": ["#3", "#4"]}},
    ),
    (
        "jsonl",
        {"c.jsonl": lines(_CSQA, _CSQA)},
        {
            "columns": {
                "question": "question.stem",
                "options": "question.choices.text",
                "answer": "answerKey",
            }
        },
    ),
    ("json", {"j.json": json.dumps([{"q": "a", "n": 1.5}, {"q": "b"}])}, {}),
    (
        "labelled-lines",
        {"l.txt": "1 fine film\n0 bad film\n"},
        {
            "columns": {"question": "text", "answer": "label"},
            "labels": {"0": "negative", "1": "positive"},
        },
    ),
    (
        "massive",
        {
            "ko-KR.jsonl": lines(
                {"partition": "train", "utt": "Hi", "intent": "a_b"},
                {"partition": "train", "utt": "Ho", "intent": "c"},
            )
        },
        {},
    ),
    (
        "xp3",
        {
            "x.jsonl": lines(
                {"inputs": "a", "targets": "b", "language": "ko"},
                {"inputs": "c", "targets": "d", "language": "sw"},
            )
        },
        {},
    ),
    (
        "aya",
        {
            "a.jsonl": lines(
                {"inputs": "a", "targets": "b", "language_code": "kor"},
                {"inputs": "c", "targets": "d", "language_code": "kor"},
            )
        },
        {},
    ),
    (
        "parallel",
        {"p/eng_Latn.dev": "One.\nTwo.\n", "p/kor_Hang.dev": "일.\n이.\n"},
        {},
    ),
    (
        "parallel",
        {"p.jsonl": lines({"translation": {"en": "One", "de": "Eins"}})},
        {},
    ),
    ("code_synthesis", {"c.jsonl": lines({"nl": "Add.", "code": "a + b"})}, {}),
    ("code_repair", {"c.jsonl": lines({"buggy": "a - b", "fixed": "a"})}, {}),
    (
        "code_repair",
        {"r/train.b-f.buggy": "a - b\nc\n", "r/train.b-f.fixed": "a\nd\n"},
        {},
    ),
    ("code_translation", {"c.jsonl": lines({"java": "a;", "cs": "b;"})}, {}),
    ("code_defects", {"c.jsonl": lines({"func": "f()", "target": 1})}, {}),
    ("messages", {"m.jsonl": lines(_CHAT, _CHAT)}, {}),
    ("sharegpt", {"s.json": json.dumps([_SHAREGPT, _SHAREGPT])}, {}),
    ("alpaca", {"a.json": json.dumps([_ALPACA, _ALPACA])}, {}),
    (
        "prompt-completion",
        {"p.jsonl": lines({"prompt": "Why?", "completion": "So."})},
        {},
    ),
    (
        "preference",
        {"d.jsonl": lines({"prompt": "Who?", "chosen": "I", "rejected": "U"})},
        {},
    ),
]

_SNIPPETS = (
    *("\t", "\n", "\r", "\r\n", "\x00", "\x85", "\u2028", "\ufeff", "\ud7ff"),
    *("\\", '"', "''", '""', '"":', "{", "}", "[", "]", "<", ">", ",", ":"),
    *("#", "####", "<<", ">>", "&", "&amp;", "<!--", "]]>", "<b>", "%s"),
    *("\\n", "\\u0000", "\\ud800", "\\x", "\u06f1", "\U0001d7d8", "0000"),
    *("null", "NaN", "-0", "1e999", "-1", '{"a":1}', "{0}", "{question}"),
    *("../", "<|endoftext|>", "\xff\xfe", " ", "  ", "[" * 3000, "x" * 5000),
)
_JUNK = (
    *(None, True, -1, 0, 3, 1.5, 10**30, "", "  ", "a\nb", "\ud800", "x" * 999),
    *([], {}, ["a"], [None], {"a": {"b": []}}, [[1]], {"": ""}),
)


def mutate_text(text, rng):
    """Returns the bytes of a text after up to three random changes."""
    for _ in range(rng.randint(1, 3)):
        kind = rng.randrange(8)
        i, j = sorted(rng.randint(0, len(text)) for _ in "ij")
        j = min(j, i + rng.choice((1, 3, 20, 200)))
        if kind == 0:
            text = text[:i] + text[j:]
        elif kind in (1, 2):
            text = text[:i] + rng.choice(_SNIPPETS) + text[i:]
        elif kind == 3:
            text = text[:j] + text[i:j] + text[j:]
        elif kind == 4:
            text = text[:i] + rng.choice(_SNIPPETS) + text[j:]
        elif kind == 5:
            lines = text.split("\n")
            rng.shuffle(lines)
            text = "\n".join(lines)
        elif kind == 6:
            text = rng.choice((text[:i], text.replace("\n", "\r\n"), text * 2))
        else:
            text = re.sub(
                r"\d+",
                lambda m: (
                    str(rng.randint(-2, 99)) if rng.random() < 0.1 else m[0]
                ),
                text,
            )
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.1 and data:
        i = rng.randrange(len(data))
        data = data[:i] + bytes([rng.randrange(256)]) + data[i + 1 :]
    return data


def mutate_value(value, rng):
    """Returns a JSON value with one part replaced, removed or repeated."""
    value = copy.deepcopy(value)
    places = []
    stack = [value]
    while stack:
        part = stack.pop()
        keys = part.keys() if isinstance(part, dict) else range(len(part))
        for key in keys:
            places.append((part, key))
            if isinstance(part[key], dict | list):
                stack.append(part[key])
    if not places:
        return rng.choice(_JUNK)
    part, key = rng.choice(places)
    kind = rng.randrange(5)
    if kind == 0:
        del part[key]
    elif kind == 1 and isinstance(part, list):
        part.insert(key, copy.deepcopy(part[key]))
    elif kind == 2 and isinstance(part, dict):
        part[rng.choice(("answer", "_x", "", "a b", "question"))] = part[key]
    else:
        part[key] = copy.deepcopy(rng.choice(_JUNK))
    return value


def mutate_file(text, rng):
    """Mutates a file: its JSON values or its text."""
    if rng.random() < 0.5:
        try:
            changed = json.dumps(
                mutate_value(json.loads(text), rng),
                ensure_ascii=rng.random() < 0.5,
            )
            return changed.encode("utf-8", "surrogatepass")
        except ValueError:
            pass
        lines = text.split("\n")
        i = rng.randrange(len(lines))
        try:
            lines[i] = json.dumps(mutate_value(json.loads(lines[i]), rng))
            return "\n".join(lines).encode("utf-8", "surrogatepass")
        except (ValueError, TypeError, AttributeError):
            pass
    return mutate_text(text, rng)


_ANY_ENCODING = (
    *("csv", "tsv", "json", "jsonl", "labelled-lines", "messages", "sharegpt"),
    *("alpaca", "prompt-completion", "preference"),
)


def run(folder, format, files, options, rng):
    """Writes a source with one file mutated, imports it, checks the result.

    Returns `"accepted"`, if a part of the rows is, or `"rejected"`.
    """
    changed = rng.choice(list(files))
    packed = rng.random() < 0.1 and len(files) == 1
    texts = {}
    for name, text in files.items():
        data = text.encode("utf-8")
        if name == changed:
            data = mutate_file(text, rng)
        texts[name] = data.decode("utf-8", "replace")
        if "\ufffd" in texts[name] and format in _ANY_ENCODING:
            texts[name] = data.decode("cp1252", "replace")
        if packed:
            name += ".gz"
            data = gzip.compress(data, 1)
            if rng.random() < 0.5:
                data = data[: rng.randrange(len(data) + 1)]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = path.parent if len(files) > 1 else path
    output = folder / "out"
    try:
        imported = import_source(format, source, output, **options)
    except InputError as error:
        assert str(error) and "\n" not in str(error), error
        assert str(folder) in str(error), error
        assert not list(output.rglob("*.tfrecord"))
        return "rejected"
    for problem in imported.rejected:
        assert problem["reason"]
    for rejects in output.rglob("rejects.jsonl"):
        for line in rejects.read_text("utf-8").split("\n")[:-1]:
            assert json.loads(line)["reason"]
    haystacks = [_haystack(format, text) for text in texts.values()]
    haystack = "\x01".join(haystacks)
    for info in imported.tasks:
        [where] = output.rglob(info["shards"][0]["file"])
        for example in read_records(where.parent):
            for field, value in example.fields.items():
                check_text(format, field, value, haystack, options)
    if format in _LINE_FORMATS and not changed.endswith("s.json"):
        lines = texts[changed].removeprefix("\ufeff").split("\n")
        number = sum(bool(line.strip()) for line in lines)
        assert number == sum(
            info["num_examples"] + info["num_rejected"]
            for info in imported.tasks
        ) + sum(
            int(re.search(r"none of the (\d+) rows", p["reason"])[1])
            for p in imported.rejected
        )
    return "accepted"


_LINE_FORMATS = (
    *("gsm8k", "flan-cot", "t0", "mgsm", "qed", "slots", "labelled-lines"),
    "jsonl",
)
_JSON_FORMATS = (
    *("gsm8k", "natural-instructions", "t0", "squad", "tydiqa", "qed", "bbh"),
    *("bigbench", "math-problems", "jsonl", "json", "messages", "sharegpt"),
    *("alpaca", "prompt-completion", "preference", "massive", "xp3", "aya"),
    *("code_synthesis", "code_translation", "code_defects"),
)


def _haystack(format, text):
    """Returns what a source says, after the documented unescaping."""
    if format in _JSON_FORMATS or (
        format in ("mgsm", "parallel", "code_repair") and text[:1] == "{"
    ):
        strings = []
        for part in (text.removeprefix("\ufeff"), *text.split("\n")):
            try:
                _collect(json.loads(part, parse_float=str), strings)
            except (ValueError, RecursionError):
                continue
        text = "\x01".join(strings)
    elif format == "flan-cot":
        text = text.replace("\\n", "\n")
    elif format in ("csv", "mmlu"):
        text = text + "\x01" + text.replace('""', '"')
    elif format == "asdiv":
        text = unescape(text).replace("\r\n", "\n").replace("\r", "\n")
    if format == "gsm8k":
        text += "\x01" + re.sub(r"<<[^<>]*>>", "", text)
    return text


def _collect(value, strings):
    if isinstance(value, dict):
        strings.extend(value)
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            _collect(part, strings)
    else:
        strings.append(value if isinstance(value, str) else json.dumps(value))


def check_text(format, field, value, haystack, options):
    """Asserts that a field's text occurs in the source."""
    if field in options.get("labels", ()) or (
        options.get("labels") and field in ("answer", "options")
    ):
        names = options["labels"].values()
        assert set(value.split("\n")) <= set(names)
        return
    parts = [value]
    if format == "massive":
        haystack += "\x01" + haystack.replace("_", " ")
    names = ("language", "subject", "source_language", "target_language")
    if field in names or (format, field) in (
        ("esnli", "answer"),
        ("esnli", "question"),
        ("code_defects", "answer"),
    ):
        return  # From the file's name, or made of the other fields.
    if field == "question" and format in ("messages", "sharegpt", "alpaca"):
        parts = re.split(r"\n|User: |Assistant: |Tool: ", value)
    elif field == "references":
        parts = json.loads(value)
    elif field == "options":
        haystack = " ".join(haystack.split())
        parts = [" ".join(part.split()) for part in value.split("\n")]
    elif format == "qed" and field != "title":
        parts = re.split(
            r'\n\nQuestion: |The passage says: "|"\.? There "|" is what the '
            r'question means by "|"\.?$|, ',
            value,
        )
    elif format in ("conll", "slots"):
        parts = re.split(r"; |: | ", value)
        parts = [part for part in parts if part != "none"]
    elif format in ("math-problems", "asdiv"):
        haystack += "\x01" + haystack.replace(",", "")
        halves = [
            (value[: m.start()], value[m.end() :])
            for m in re.finditer(" ", value)
        ]
        parts = next(
            (h for h in halves if h[0] in haystack and h[1] in haystack), parts
        )
    elif field == "answer" and format in ("gsm8k", "mgsm"):
        haystack += haystack.replace(",", "")
    elif field == "answer" and format == "tydiqa":
        haystack += "\x01yes\x01no"
    for part in parts:
        assert part.strip() in haystack, (format, field, part)
