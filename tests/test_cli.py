"""The command line as its user sees it: exit codes, messages, JSON."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from keras_flan import cli
from keras_flan.data.records.example import Example
from keras_flan.data.records.shards import read_records
from keras_flan.data.records.writing import write_records
from keras_flan.errors import Diverged


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["keras-flan", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def bad(result, *words):
    """Asserts exit 2 and one line on stderr that has all the words."""
    code, out, err = result
    assert code == 2, (code, out, err)
    assert out == ""
    [line] = err.strip().split("\n")
    for word in words:
        assert str(word) in line, line
    return line


def make_records(folder, n=12, name="sums"):
    examples = [
        Example({"question": f"{i} + 1?", "answer": f"{i + 1}"}, name, str(i))
        for i in range(n)
    ]
    write_records(examples, folder, name=name, templates="generic")
    return folder


def _processor_time():
    """Seconds of the processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['keras-flan', '--help']\n"
        "from keras_flan.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'jax', 'keras', 'keras_hub', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    times = []
    for _ in range(5):
        begin = _processor_time()
        subprocess.run(
            [sys.executable, "-m", "keras_flan.cli", "--help"],
            check=True,
            capture_output=True,
        )
        times.append(_processor_time() - begin)
    # Its own time, at best: other work on the machine does not count.
    assert min(times) < 0.5


@pytest.mark.parametrize(
    "command", ["import", "inspect", "mixture", "train", "evaluate", "score"]
)
def test_every_command_has_help(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert command in out


# === Bad input: one line, exit 2, earlier output untouched ===


def test_tsv_with_two_columns(run, tmp_path):
    source = tmp_path / "gsm8k_train.tsv"
    source.write_text("How many?\t3\n")
    out = make_records(tmp_path / "out")
    before = list(read_records(out, verify=True))
    line = bad(run("import", "flan-cot", source, "--output", out), source)
    assert "column" in line
    assert list(read_records(out, verify=True)) == before


def test_broken_json_line(run, tmp_path):
    source = tmp_path / "train.jsonl"
    good = {"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"}
    source.write_text(json.dumps(good) + "\n{broken\n")
    out = tmp_path / "out"
    code, stdout, _ = run("import", "gsm8k", source, "--output", out, "--json")
    assert code == 0
    assert json.loads(stdout)["num_rejected"] == 1
    [reject] = (out / "rejects.jsonl").read_text().strip().split("\n")
    assert json.loads(reject)["row"] == 2
    bad(
        run("import", "gsm8k", source, "--output", out, "--strict"),
        f"{source}:2",
    )
    assert len(list(read_records(out, verify=True))) == 1


def test_truncated_shard(run, tmp_path):
    records = make_records(tmp_path / "records" / "sums")
    [shard] = records.glob("*.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-5])
    line = bad(run("inspect", records, "-n", 12), shard.name)
    assert "import" in line


def test_unknown_template_field(run, tmp_path):
    records = make_records(tmp_path / "records")
    family = tmp_path / "mine.yaml"
    family.write_text(
        "family: mine\nfields: [question, answer]\nzero_shot_direct:\n"
        '- {input: "{quesiton}", target: "{answer}"}\n'
    )
    mixture = tmp_path / "m.yaml"
    mixture.write_text(
        f"name: m\nrecords: {tmp_path}\ngroups:\n  a:\n    tasks:\n"
        f"    - {{name: sums, records: {records}, templates: {family}}}\n"
    )
    bad(run("mixture", mixture), family.name, "quesiton", "question")


def test_mixture_naming_a_missing_task(run, tmp_path):
    make_records(tmp_path / "records" / "sums")
    mixture = tmp_path / "m.yaml"
    mixture.write_text(
        "name: m\nrecords: records\ngroups: {a: {tasks: [sum]}}\n"
    )
    bad(run("mixture", mixture), "m.yaml", "sum", "sums")


def test_config_with_a_misspelt_key(run, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text("output: o\nmixture: m.yaml\nstesp: 3\n")
    bad(run("train", config), config, "stesp", "'steps'")
    config.write_text("output: o\nmixture: m.yaml\nvocabulary: v\n")
    bad(run("train", config, "data.batchsize=3"), "batchsize", "batch_size")
    bad(run("train", config, "steps"), "key=value")
    config.write_text(config.read_text() + "method: right\n")
    bad(run("improve", config, "method=rihgt"), "method", "'right'")


def test_empty_data_set(run, tmp_path):
    source = tmp_path / "train.jsonl"
    source.write_text("")
    out = make_records(tmp_path / "out")
    before = sorted(path.name for path in out.iterdir())
    bad(run("import", "gsm8k", source, "--output", out), source)
    assert sorted(path.name for path in out.iterdir()) == before


def test_debug_shows_the_traceback(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            *("-m", "keras_flan.cli", "--debug", "mixture"),
            str(tmp_path / "none.yaml"),
        ],
        capture_output=True,
        text=True,
    )
    assert "Traceback" in done.stderr


def test_bad_generate_arguments(run, tmp_path):
    bad(run("generate", "--model", tmp_path), "--prompt", "--input")
    bad(run("generate", "--model", tmp_path / "x", "--prompt", "a"), "folder")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"text": "a"}\n')
    bad(
        run("generate", "--model", tmp_path, "--input", prompts),
        f"{prompts}:1",
        "'prompt'",
    )


def test_other_machines_reach_what_is_served_only_if_that_is_said(
    run, tmp_path
):
    command = ["serve", "--model", tmp_path, "--host", "0.0.0.0", "--port", 0]
    bad(run(*command), "0.0.0.0", "--allow-remote")
    # Then it is for want of a model that it ends.
    _, _, err = run(*command, "--allow-remote")
    assert "WARNING: 0.0.0.0 is open" in err and f"{tmp_path}: " in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mixture"], ["path", "mixture --help"]),
        (["nosuch"], ["nosuch"]),
        (["import", "gsm8k", "x", "--output", "y", "--limit", 0], ["--limit"]),
        (["score", "--benchmark", "gsm8k"], ["--predictions"]),
    ],
)
def test_wrong_usage_is_one_line(run, arguments, words):
    bad(run(*arguments), *words)


def test_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"keras-flan \d+\.\d+\.\d+\S*\n", out)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(28, "No space left on device", "a/b"),
            "a/b: No space left on",
        ),
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (Diverged("step 3: the loss is nan"), "step 3: the loss is nan"),
    ],
)
def test_what_fails_on_the_way_is_one_line(run, monkeypatch, error, line):
    from keras_flan.miniature import quickstart

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(quickstart, "quickstart", fails)
    code, _, err = run("quickstart")
    assert code == 1
    assert re.fullmatch(f"keras-flan: {line}.*\n", err)


def test_unknown_names(run, tmp_path):
    bad(run("import", "gsm8", "x", "--output", tmp_path), "gsm8k")
    predictions = tmp_path / "p.jsonl"
    predictions.write_text('{"task": "a", "target": "9", "output": "9"}\n')
    arguments = ("--predictions", predictions)
    bad(run("score", "--benchmark", "gsm9k", *arguments), "gsm8k")


def test_flipped_bit_is_named_by_train(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = make_records(tmp_path / "records" / "sums", n=400)
    Path("m.yaml").write_text(
        "name: m\nrecords: records\nshots: 0\ngroups: {a: {tasks: [sums]}}\n"
    )
    arguments = ("vocabulary", "m.yaml", "--size", 340, "--output", "v.model")
    code, _, err = run(*arguments)
    assert code == 0, err
    [shard] = records.glob("*.tfrecord")
    data = bytearray(shard.read_bytes())
    data[len(data) * 3 // 4] ^= 1
    shard.write_bytes(data)
    Path("train.yaml").write_text(
        "output: run\nmixture: m.yaml\nvocabulary: v.model\nsteps: 4\n"
        "model: {hidden_dim: 32, intermediate_dim: 48, num_layers: 1}\n"
        "data: {input_length: 64, target_length: 32, batch_size: 2}\n"
    )
    bad(run("train", "train.yaml", "--quiet"), shard.name, "record ")
    # A run that has begun can go on once the records are mended.
    assert not Path("run/model").exists()
    assert not Path("run/metrics.json").exists()


# === JSON on stdout, and nothing else ===


def test_json_outputs(run, tmp_path):
    records = make_records(tmp_path / "records" / "sums")
    mixture = tmp_path / "m.yaml"
    mixture.write_text("name: m\nrecords: records\ngroups: {a: {tasks: '*'}}\n")
    code, out, _ = run("mixture", mixture, "--json")
    assert code == 0
    [group] = json.loads(out)["groups"]
    assert group["tasks"][0]["rate"] == 1.0
    code, out, _ = run("inspect", records, "-n", 2, "--direct", "--json")
    assert code == 0
    assert len(json.loads(out)) == 2
    predictions = tmp_path / "p.jsonl"
    rows = [
        {"task": "a", "target": "9", "output": "So the answer is 9."},
        {"task": "a", "target": "8", "outputs": ["The answer is 8.", "?"]},
        {"task": "b", "target": "7", "output": "I don't know."},
    ]
    predictions.write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = run(
        "score", "--benchmark", "gsm8k", "--predictions", predictions, "--json"
    )
    assert code == 0
    scores = json.loads(out)
    assert scores["accuracy"] == 0.5
    assert scores["tasks"]["a"] == {
        **scores["tasks"]["a"],
        "accuracy": 1.0,
        "n": 2,
        "unparsed": 0,
    }
    assert scores["tasks"]["b"]["unparsed"] == 1


@pytest.mark.slow
def test_the_commands_fit_together(run, tmp_path, monkeypatch):
    """import, vocabulary, mixture, train, generate, evaluate, score."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "question": f"Ann has {a} pens and buys {b}. How many pens?",
            "answer": f"{a}+{b}=<<{a}+{b}={a + b}>>{a + b} pens.\n#### {a + b}",
        }
        for a in range(1, 9)
        for b in range(1, 9)
    ]
    Path("train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    Path("mixture.yaml").write_text(
        "name: pens\nrecords: records\ngroups: {cot: {tasks: [gsm8k]}}\n"
    )
    Path("train.yaml").write_text(
        "output: run\nmixture: mixture.yaml\nvocabulary: v.model\nsteps: 50\n"
        "log_every: 2\n"
        "model: {hidden_dim: 32, intermediate_dim: 48, num_layers: 1}\n"
        "data: {input_length: 64, target_length: 48, batch_size: 2}\n"
    )
    model = "run/model"
    for command in (
        ["import", "gsm8k", "train.jsonl", "--output", "records/gsm8k"],
        ["vocabulary", "mixture.yaml", "--size", 350, "--output", "v.model"],
        ["train", "train.yaml", "steps=4", "--quiet"],
    ):
        code, _, err = run(*command)
        assert code == 0, err
    assert [len(x) for x in Path("run/loss.csv").read_text().split()] == [
        len(x) for x in ("step,loss", "2,0.000000", "4,0.000000")
    ]
    code, out, err = run(
        *("generate", "--model", model, "--prompt", "How many pens?"),
        *("--cot", "--samples", 3, "--max-new-tokens", 8, "--json"),
    )
    assert code == 0, err
    [answered] = json.loads(out)
    assert len(answered["paths"]) == 3
    evaluation = (
        *("evaluate", "--model", model, "--benchmark", "gsm8k"),
        *("--data", "train.jsonl", "--mode", "cot", "--samples", 2),
        *("--limit", 3, "--max-new-tokens", 8, "--output", "scores", "--json"),
    )
    code, out, err = run(*evaluation)
    assert code == 0, err
    metrics = json.loads(out)
    assert metrics == json.loads(Path("scores/metrics.json").read_text())
    first = Path("scores/predictions.jsonl").read_bytes()
    code, out, _ = run(
        *("score", "--benchmark", "gsm8k", "--json"),
        *("--predictions", "scores/predictions.jsonl"),
    )
    scored = json.loads(out)
    assert scored == {key: metrics[key] for key in scored}
    assert run(*evaluation)[0] == 0
    assert Path("scores/predictions.jsonl").read_bytes() == first


def test_a_closed_pipe_is_no_error():
    """`keras-flan formats | head -0`: nobody listens any more."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_flan.cli", "formats"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1


def test_templates_are_listed_and_asked_for(run, tmp_path):
    code, out, _ = run("templates")
    assert code == 0
    assert re.search(r"^nli +premise, hypothesis, options, answer$", out, re.M)
    _, out, _ = run("templates", "--json")
    [row] = [r for r in json.loads(out) if r["family"] == "generic"]
    assert row["fields"] == ["question", "answer"]
    assert row["optional"] == ["rationale"]
    table = tmp_path / "a.csv"
    table.write_text("question,answer\n1?,1\n2?,2\n")
    output = tmp_path / "out"
    _, out, _ = run("import", "csv", table, "--output", output)
    assert "no templates yet for the fields answer, question: " in out
    _, out, _ = run(
        *("import", "csv", table, "--output", output),
        *("--templates", "generic"),
    )
    assert "no templates" not in out
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "1?", "chosen": "1", "rejected": "one"}')
    _, out, _ = run("import", "preference", pairs, "--output", output / "p")
    assert f"method=preference mixture={output / 'p'}" in out
    assert "no templates" not in out


def test_only_the_command_line_prints_what_was_found():
    package = Path(cli.__file__).parents[1]
    found = {
        name
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] != "cli"
        for name in re.findall(r"^def (print_\w+)", path.read_text(), re.M)
    }
    assert found == {"print_layouts"}  # public, and what `train` says too
