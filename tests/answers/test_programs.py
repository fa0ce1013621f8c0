"""Programs of a model: what runs, what is refused, what is contained."""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from keras_flan.answers import extract_answer, normalise_answer, programs
from keras_flan.answers.programs import (
    Sandbox,
    extract_program,
    program_answer,
    run_program,
    run_programs,
)
from keras_flan.answers.voting import vote
from keras_flan.errors import InputError
from keras_flan.evaluation.scores.scoring import score
from tests.answers.attacks import ATTACKS

FOLDER = Path(programs.__file__).parent

CAFETERIA = '''
def solution():
    """The cafeteria had 23 apples. If they used 20 for lunch and bought 6
    more, how many apples do they have?"""
    apples_initial = 23
    apples_used = 20
    apples_bought = 6
    return apples_initial - apples_used + apples_bought
'''


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(timeout=0.5, memory=128 * 2**20) as sandbox:
        yield sandbox


def answer(code):
    result = run_program(textwrap.dedent(code))
    assert result.answer is not None, result.reason
    return result.answer


@pytest.mark.parametrize(
    ("code", "says"),
    [attack[1:] for attack in ATTACKS],
    ids=[attack[0] for attack in ATTACKS],
)
def test_attacks_end_as_abstentions(sandbox, code, says):
    begin = time.monotonic()
    result = sandbox.run(code)
    assert result.answer is None
    assert re.search(says, result.reason), result.reason
    assert "\n" not in result.reason
    assert time.monotonic() - begin < 3
    # The next program is served as if nothing had happened.
    assert sandbox.run("print(1)").answer == "1"


def test_there_are_many_attacks():
    assert len(ATTACKS) >= 200
    assert len({name for name, _, _ in ATTACKS}) == len(ATTACKS)


def test_the_second_wall_holds_without_the_interpreter():
    """What a program could do if it broke out of the interpreter."""
    script = """
        import json, os, resource, socket, sys, threading
        sys.path.insert(0, sys.argv[1])
        import worker

        def attempt(name, act):
            try:
                act()
                done[name] = "done"
            except BaseException as error:
                done[name] = type(error).__name__

        def allocate():
            bytearray(512 * 2**20)

        done = {}
        limits = resource.RLIMIT_NOFILE
        worker.leave_network()
        worker.confine(1, 256 * 2**20)
        attempt("read", lambda: open("/etc/passwd"))
        attempt("write", lambda: open("/tmp/keras_flan_escape", "w"))
        attempt("socket", lambda: socket.socket())
        attempt("pipe", os.pipe)
        attempt("fork", os.fork)
        attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
        attempt("thread", threading.Thread(target=print).start)
        attempt("memory", allocate)
        attempt("limits", lambda: resource.setrlimit(limits, (9, 9)))
        attempt("kill", lambda: os.kill(int(sys.argv[2]), 0))
        print(json.dumps([done, os.geteuid()]))
    """
    made = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), FOLDER, "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    done, user = json.loads(made.stdout)
    assert set(done.values()) <= {
        "OSError",
        "PermissionError",
        "BlockingIOError",
        "RuntimeError",
        "MemoryError",
        "ValueError",
    }, done
    assert len(done) == 10
    assert user != 0


def test_processor_time_is_limited_too():
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import worker\n"
        "worker.confine(0.1, 2**28)\n"
        "while True: pass"
    )
    begin = time.monotonic()
    made = subprocess.run([sys.executable, "-c", script, FOLDER])
    assert made.returncode in (-signal.SIGXCPU, -signal.SIGKILL)
    assert time.monotonic() - begin < 20


def test_the_sandbox_process_is_bare_and_leaves_nothing():
    with Sandbox() as sandbox:
        sandbox.run("print(1)")
        process, folder = sandbox._process, Path(sandbox._folder.name)
        assert os.getsid(process.pid) == process.pid
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert environment == b"PYTHONHASHSEED=0\0"
        assert Path(os.readlink(f"/proc/{process.pid}/cwd")) == folder
        assert list(folder.iterdir()) == []
    assert process.poll() is not None
    assert not folder.exists()


def test_a_killed_sandbox_abstains_and_starts_again():
    with Sandbox() as sandbox:
        assert sandbox.run("print(1)").answer == "1"
        os.killpg(sandbox._process.pid, signal.SIGKILL)
        sandbox._process.wait()
        assert sandbox.run("print(2)").answer is None
        assert sandbox.run("print(3)").answer == "3"


def test_a_fork_has_a_sandbox_of_its_own():
    """Two processes that shared the pipes would read each other's answers."""
    script = """
        import os
        from keras_flan.answers.programs import run_program
        assert run_program("print(1)").answer == "1"
        child = os.fork()
        for i in range(30):
            assert run_program(f"print({i})").answer == str(i)
        if child:
            assert os.waitpid(child, 0)[1] == 0
            assert run_program("print(1)").answer == "1"
    """
    code = textwrap.dedent(script)
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_stopped_sandbox_is_given_up(monkeypatch):
    room = "keras_flan.answers.programs.sandbox"
    with Sandbox(timeout=1) as sandbox:
        sandbox.run("print(1)")
        os.killpg(sandbox._process.pid, signal.SIGSTOP)
        with monkeypatch.context() as impatient:
            impatient.setattr(f"{room}._GRACE", 0.2)
            impatient.setattr(f"{room}._CROWD", 1)
            result = sandbox.run("print(2)")
        assert result == (programs.ProgramResult(None, result.reason))
        assert sandbox.run("print(3)").answer == "3"


@pytest.mark.parametrize(
    "limits", [{"timeout": 0}, {"timeout": 1e9}, {"memory": 1000}]
)
def test_bad_limits_are_named(limits):
    with pytest.raises(InputError, match="expected a timeout"):
        Sandbox(**limits)


# === The language ===


def test_the_cafeteria():
    result = run_program(CAFETERIA)
    assert (result.answer, result.reason) == ("9", "solution")


def test_where_the_answer_is_from():
    assert run_program("print('a')\nprint(7)").reason == "printed"
    assert run_program("ans = 3").reason == "variable"
    assert run_program("x = 3\nx + 1") == programs.ProgramResult(
        "4", "expression"
    )
    # What solution() returns is worth more than what it prints.
    both = "def solution():\n  print(1)\n  return 2\nprint(solution())"
    assert run_program(both).answer == "2"


def test_ans_is_worth_more_than_what_is_printed_around_it():
    solver = "def solver():\n  print('Step:', 3)\n  print(4)\n  return 5\n"
    assert answer(solver + "ans = solver()") == "5"
    assert answer("ans = 5\nprint('The answer is', ans)") == "5"
    assert answer("ans = 5\nprint(f'${ans}.00')") == "5"
    # A plain number that is printed last is meant.
    assert answer("ans = 5\nprint(ans * 2)") == "10"
    assert answer("print(4)\nans = 5") == "5"
    assert answer(solver) == "5"
    assert "ans is None" in run_program(solver + "ans = None").reason
    assert answer("result = 4\nprint('so', 5)") == "so 5"
    assert answer("def solution(x): return x\nanswer = 3") == "3"


def test_one_value_in_brackets_is_that_value():
    assert answer("ans = [36]") == "36"
    assert answer("ans = {'x': (4,)}") == "4"
    assert answer("ans = [1, 2]") == "[1, 2]"
    assert answer("print([36])") == "[36]"


def test_an_import_is_refused_when_it_is_used():
    code = "import os, torch.nn as nn\nfrom pandas import *\nans = 3"
    assert answer(code) == "3"
    said = "not allowed: import of os"
    assert run_program("import os\nx = 1\nos.sep").reason == f"{said} (line 3)"
    # Nothing else came of the program: the import is why.
    assert run_program("\nimport os\nx = 1").reason == f"{said} (line 2)"


def test_what_the_published_systems_import_is_there():
    """Their programs begin after the imports of the prompt."""
    code = "x = Symbol('x', positive=True)\nans = solve_it(x**2 - 4, x)[x]"
    assert answer(code) == "2"
    assert answer("ans = math.ceil(2.5) + np.mean([1, 2])") == "4.5"
    assert answer("ans = datetime(2020, 1, 31) + relativedelta(months=1)")


def test_a_long_loop_may_print():
    code = "for x in range(200):\n  for y in range(60):\n    print(x, y)"
    assert answer(code) == "199 59"


def test_errors_name_the_line():
    result = run_program("x = 1\ny = x / 0")
    assert result.reason == "ZeroDivisionError: division by zero (line 2)"
    assert "(line 2)" in run_program("x = 1\nx = = 1").reason
    assert "(line 3)" in run_program("\n\nimport os").reason


@pytest.mark.parametrize(
    "code",
    [
        "a, *b, (c, d) = 1, 2, 3, (4, 5)\nprint(a, b, c, d)",
        "x = [1]\ny = x\nx += [2]\nx[0] += 5\nprint(y, x is y)",
        "d = {'a': 1, **{'b': 2}}\nd['c'] = 3\nprint(sorted(d.items()))",
        "print([i * j for i in range(3) for j in range(i) if j != 1])",
        "print({x % 3 for x in range(9)}, {k: k**2 for k in (1, 2)})",
        "print(sum(x for x in range(5)), next(c for c in 'abc' if c > 'a'))",
        "def f(a, b=2, *c, d, e=5, **g): return a, b, c, d, e, g\n"
        "print(f(1, d=4), f(1, 2, 3, d=4, z=6), f(*[1, 2], **{'d': 0}))",
        "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "print(fib(12))",
        "def outer():\n  n = 0\n  def inner():\n    nonlocal n\n    n += 1\n"
        "    return n\n  inner()\n  return inner()\nprint(outer())",
        "n = 1\ndef f():\n  global n\n  n = 5\nf()\nprint(n)",
        "fs = [lambda x, i=i: x + i for i in range(3)]\n"
        "print([f(10) for f in fs], (lambda *a: a)(1, 2))",
        "for i in range(5):\n  if i == 3: break\nelse:\n  i = 9\nprint(i)",
        "i = 0\nwhile i < 3:\n  i += 1\n  if i == 2: continue\n"
        "else:\n  i = 7\nprint(i)",
        "print(1 < 2 < 3, 3 > 2 > 2, not 1, -2 ** 2, 7 // -2, -7 % 3, ~5)",
        "print(0 or 'x', 1 and [], None is None, 'a' in 'cat', 3 not in [])",
        "print(f'{3.14159:.2f}|{5:>4}|{\"x\"!r}|{12345:,}|{0.5:.1%}')",
        "print('%s is %d' % ('x', 5), '-'.join(['a', 'b']), 'abc'[::-1])",
        "import math\nprint(math.sqrt(16), math.ceil(2.1), math.pi)",
        "from math import *\nprint(floor(2.9), gcd(12, 18), factorial(5))",
        "from fractions import Fraction as F\nprint(F(1, 3) + F(1, 6))",
        "from datetime import datetime, timedelta\n"
        "d = datetime(2024, 2, 28) + timedelta(days=2)\n"
        "print(d.strftime('%m/%d/%Y'), datetime.strptime('1', '%d').day)",
        "import itertools\nprint(len(list(itertools.permutations('abc'))))",
        "from collections import Counter, defaultdict\n"
        "d = defaultdict(list)\nd['a'].append(1)\n"
        "print(Counter('aab').most_common(1), d['a'])",
        "from typing import List\ndef f(x: List[int]) -> int:\n"
        "  return x[0]\ny: int = f([4])\nprint(y)",
        "if (n := 10) > 5: print(n)\nassert n == 10, 'no'",
        "print(sorted(['b', 'A'], key=str.lower), max([1, 5], key=lambda x:"
        " -x), list(map(str, [1, 2])), list(zip('ab', [1, 2])))",
        "x = [3, 1, 2]\nx.sort(reverse=True)\nx.insert(0, 9)\n"
        "x[1:2] = [7, 8]\nprint(x, x.index(7), x[-1:])",
        "if __name__ == '__main__':\n  print(1, 2, sep='-', end='!\\n')",
        "s = 0\ndef f():\n  s = 5\n  return [s for _ in range(2)]\n"
        "print(f(), s, round(2.567, 2), 10 ** -2, 0.1 + 0.2)",
    ],
)
def test_programs_mean_what_python_means(code):
    """The interpreter against CPython, on programs of this file."""
    made = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer(code) == made.stdout.strip().split("\n")[-1]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("x = 1\ndef f():\n  x = x + 1\nf()", "UnboundLocalError"),
        ("def f(a): return a\nf()", "TypeError: the argument a is missing"),
        ("def f(a): return a\nf(1, 2)", "TypeError: takes 1"),
        ("def f(a): return a\nf(1, a=2)", "TypeError: two values"),
        ("def f(a): return a\nf(1, b=2)", "TypeError: unknown argument b"),
        ("def f(*, a): return a\nf()", "TypeError: the argument a"),
        ("a, b = 1, 2, 3", "ValueError"),
        ("a, *b, c = [1]", "ValueError"),
        ("int('x')", "ValueError"),
        ("{}['x']", "KeyError"),
        ("[][1]", "IndexError"),
        ("assert 1 > 2", "assertion"),
        ("raise ValueError('x')", "raised"),
        ("x @ 2", "MatMult|NameError"),
        ("from math import nothing", "math has no nothing"),
        ("from datetime import datetime as d\nd.now()", "not allowed: now"),
        ("def f():\n  nonlocal z\nf()", "no outer variable z"),
    ],
)
def test_wrong_programs_abstain(code, error):
    result = run_program(code)
    assert result.answer is None
    assert re.search(error, result.reason), result.reason


def test_sets_have_the_same_order_in_every_process():
    code = "print(list({'apple', 'pear', 'plum', 'fig', 'kiwi'}))"
    with Sandbox() as one, Sandbox() as other:
        assert one.run(code) == other.run(code)


# === Answers and votes ===


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("So:\n```python\nprint(1)\n```\ndone", "print(1)\n"),
        ("```\nprint(1)\n```", "print(1)\n"),
        ("```python\nprint(1)\n```\n```output\n1\n```", "print(1)\n"),
        ("```py\na\n```\n```python\nb\n```", "b\n"),
        ("```python\nprint(1)", "print(1)"),
        ("'''python\nprint(1)\n'''", "print(1)\n"),
        (
            "Q: x\n\nimport math\ndef solution():\n    x = 1\n\n    return x"
            "\n\n\nQ: more",
            "import math\ndef solution():\n    x = 1\n\n    return x",
        ),
        ("def solver():\n    return 1\nans = solver()", ""),
        ("So:\nx = 4\nans = x * 2\nThe answer is 8.", "x = 4\nans = x * 2"),
        (
            'import math\n\n# Question: how many?\ndef solver():\n    """Some'
            '\nwords."""\n    return 4\n\nans = solver()',
            "",
        ),
        ("x = 3\nfor i in range(2):\n    x += i\nprint(x)", ""),
        ("a, b = 1, 2\nx[0] = f(\n    a\n)\nans: int = 4\nans = b", ""),
        # A question of the model's own, and a program for it.
        ("ans = 4\n\nQuestion: And then?\nans = 5", "ans = 4"),
        ("ans = 4\n\n# Question: And then?\nans = 5", "ans = 4"),
        ("```\nans = 4\n```\nQ: And then?\n```\nans = 5\n```", "ans = 4\n"),
        ("ans = 4\nNo, I was wrong.\nans = 5", "ans = 5"),
        ("def other(): return 1", None),
        ("The answer is 9.", None),
        ("For each of them: x = 3", None),
    ],
)
def test_programs_are_found_in_text(text, code):
    found = extract_program(text)
    # An empty text stands for the whole one.
    assert (found and found.code) == (text if code == "" else code)
    if found:
        assert text[found.start : found.end] == found.code


@pytest.mark.parametrize(
    "text",
    [
        "import a\n" * 111_000,
        "from a import b\n\n" * 60_000,
        "def solution\n" * 77_000,
        "```\n" * 250_000,
        "'" * 1_000_000,
        "x = '" + "\\'" * 500_000,
        'ans = """' + "\n" * 1_000_000,
        "a," * 500_000 + " = 1",
        "x = 1 \n \n" * 125_000,
        "f(" * 500_000,
        "ans = (" + "[" * 1_000_000,
        "# Question" * 100_000,
        " " * 1_000_000 + "ans = 1",
    ],
    ids=range(13),
)
def test_programs_are_found_in_linear_time(text):
    begin = time.process_time()
    extract_program(text)
    assert time.process_time() - begin < 3


def test_program_answers_vote():
    texts = [
        f"```python{CAFETERIA}```",
        "```python\nprint(23 - 20 + 6.0)\n```",
        "```python\nprint(23 + 6)\n```",
        "```python\nprint(23 / 0)\n```",
        "The answer is 9.",
    ]
    found = [extract_answer(text, "program") for text in texts]
    answers = [one and one.value for one in found]
    assert answers == ["9", "9", "29", None, None]
    assert [one and one.rule for one in found][:3] == [
        "solution",
        "printed",
        "printed",
    ]
    assert texts[0][found[0].start : found[0].end] == CAFETERIA.lstrip("\n")
    elected = vote(answers)
    assert (elected.winner, elected.confidence) == ("9", 0.4)
    assert normalise_answer("9", "program") == "9"
    assert program_answer(texts[4]).reason == "no program"


def test_recorded_programs_are_scored():
    rows = [
        {"target": "9", "output": f"```python{CAFETERIA}```"},
        {"target": "9", "output": "```python\nprint(9 / 0)\n```"},
    ]
    metrics = score(
        "gsm8k", [{**row, "answer_kind": "program"} for row in rows]
    )
    assert (metrics["accuracy"], metrics["unparsed"]) == (0.5, 1)


def test_a_busy_machine_changes_no_answer():
    """Twelve programs that need most of their time, at once."""
    code = "ans = 0\nfor i in range(160_000): ans += i % 7"
    results = run_programs([code] * 12, timeout=1.0, workers=12)
    assert {result.answer for result in results} == {"479997"}


def test_many_programs_keep_their_order():
    results = run_programs([f"print({i})" for i in range(20)], workers=2)
    assert [result.answer for result in results] == list(map(str, range(20)))
    assert run_programs([]) == []


def test_running_programs_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from keras_flan.answers.programs import run_program\n"
        "assert run_program('print(1)').answer == '1'\n"
        "heavy = {'tensorflow', 'jax', 'keras', 'keras_hub'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.realdata
def test_tora_programs_print_what_they_printed(realdata):
    """Against the outputs that were recorded when ToRA ran its programs."""
    [path] = (realdata / "model_outputs/tora_gsm8k").glob("*.jsonl.gz")
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    outputs = [row["code"][0] for row in rows]
    results = run_programs([extract_program(text).code for text in outputs])
    seen = Counter()
    for row, text, result in zip(rows, outputs, results, strict=True):
        recorded = re.search(r"```output\n(.*?)\n```", text, re.DOTALL)
        if result.answer is None:
            seen[re.sub(r" \(.*|:.*is not.*", "", result.reason)] += 1
            continue
        # Their programs print one line; it is theirs to the last digit.
        assert result.answer == recorded[1].strip(), row["idx"]
        seen["as recorded"] += 1
        value = normalise_answer(result.answer, "program")
        # The model may say another number than its program printed: without
        # its sign, rounded, or corrected.
        seen["as stated"] += value == normalise_answer(row["pred"][0], "number")
    # All that ended with a value, also those with `sympy` in them.
    assert seen["as recorded"] == 1316
    assert seen["as stated"] == 1248
    assert len(rows) - seen["as recorded"] == 3
