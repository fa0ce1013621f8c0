"""Programs a second: the sandbox beside a fresh Python process a program.

    python benchmarks/programs.py [--programs 200]

The fresh process is what a plain `subprocess.run([python, "-c", code])`
costs: it has no limits at all. Both run the same programs, one at a time and
two at a time, in one run on one machine.
"""

import argparse
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from keras_flan.answers.programs import run_programs

PROGRAM = """
def solution():
    money = {start}
    for day in range(1, 8):
        money = money - {daily} * day
    return money

print(solution())
"""


def fresh(code: str) -> str:
    """Runs a program in a Python process of its own, without limits."""
    made = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


def main() -> None:
    """Prints programs a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--programs", type=int, default=200)
    number = parser.parse_args().programs
    codes = [PROGRAM.format(start=i, daily=i % 7) for i in range(number)]
    for workers in (1, 2):
        begin = time.perf_counter()
        ours = [r.answer for r in run_programs(codes, workers=workers)]
        middle = time.perf_counter()
        with ThreadPoolExecutor(workers) as executor:
            theirs = list(executor.map(fresh, codes))
        end = time.perf_counter()
        assert ours == theirs
        rates = number / (middle - begin), number / (end - middle)
        print(
            f"{workers} at a time: sandbox {rates[0]:.0f}/s, "
            f"fresh process {rates[1]:.0f}/s, ratio {rates[0] / rates[1]:.1f}"
        )


if __name__ == "__main__":
    main()
