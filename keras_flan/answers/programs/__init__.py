"""Answers by program: the rationale is code, run in a sandbox.

Imports nothing of `answers` but what makes values canonical.
"""

from keras_flan.answers.programs.extraction import (
    Program,
    extract_program,
    find_program_answer,
    normalise_program_answer,
    program_answer,
)
from keras_flan.answers.programs.sandbox import (
    ProgramResult,
    Sandbox,
    run_program,
    run_programs,
)

__all__ = [
    "Program",
    "ProgramResult",
    "Sandbox",
    "extract_program",
    "find_program_answer",
    "normalise_program_answer",
    "program_answer",
    "run_program",
    "run_programs",
]
