"""Questions in, voted answers out."""

import dataclasses
from collections.abc import Sequence

from keras_flan.data.templates import load_family
from keras_flan.generation.answers import extract_answer
from keras_flan.generation.voting import Vote, vote

# The self-consistency setting of the paper's largest model (Wang et al.,
# section 3.1), used wherever several paths are asked for.
SAMPLING_TEMPERATURE = 0.7


def default_temperature(samples: int) -> float:
    """Greedy for one path; the paper's temperature for several."""
    return 0.0 if samples == 1 else SAMPLING_TEMPERATURE


def chain_of_thought(question: str) -> str:
    r"""Asks `question` step by step, as the `generic` templates train it.

    Example:
        >>> chain_of_thought("What is 2 + 3?")
        "What is 2 + 3?\nLet's think step by step."
    """
    template = load_family("generic").zero_shot_cot[0]
    return template.input.render({"question": question})


@dataclasses.dataclass(frozen=True)
class Answered:
    """A prompt, its sampled paths and their vote.

    Attributes:
        prompt: What the model was given.
        paths: The `keras_flan.generation.Path`s, in order.
        answers: The answer of each path, `None` where it has none.
        vote: The outcome.
    """

    prompt: str
    paths: list
    answers: list[str | None]
    vote: Vote

    def to_dict(self) -> dict:
        """Returns a JSON-able form."""
        return {
            "prompt": self.prompt,
            "answer": self.vote.winner,
            "confidence": self.vote.confidence,
            "votes": self.vote.counts,
            "abstained": self.vote.abstained,
            "paths": [
                {
                    "text": path.text,
                    "answer": answer,
                    "log_probability": path.log_probability,
                    "finished": path.finished,
                }
                for path, answer in zip(self.paths, self.answers, strict=True)
            ],
        }


def ask(
    model,
    questions: Sequence[str],
    *,
    cot: bool = False,
    samples: int = 1,
    temperature: float | None = None,
    top_k: int = 40,
    kind: str = "text",
    seed: int = 0,
    max_new_tokens: int = 128,
    progress: bool = False,
) -> list[Answered]:
    """Asks a model questions and votes over the sampled answers.

    Args:
        model: A `keras_flan.models.T5` with a vocabulary.
        questions: The questions, as a user would write them.
        cot: Whether to ask for step-by-step reasoning.
        samples: Paths a question.
        temperature: Default: 0 for one path, 0.7 for several.
        top_k: See `keras_flan.generation.generate`.
        kind: Kind of the answers, see `keras_flan.generation.extract_answer`.
        seed: Seed of the sampling.
        max_new_tokens: Longest output, in tokens.
        progress: Whether to show a progress bar on stderr.

    Returns:
        One `Answered` a question, in order.

    Example:
        >>> [answered] = ask(model, ["What is 2 + 3?"], cot=True, samples=8)
        >>> answered.vote.counts
        {'5': 7, '6': 1}

    Source: "Scaling Instruction-Finetuned Language Models", section 4.2
    (zero-shot chain of thought); self-consistency, arXiv:2203.11171.
    """
    from keras_flan.generation.engine import generate

    if temperature is None:
        temperature = default_temperature(samples)
    prompts = [chain_of_thought(q) if cot else q for q in questions]
    results = []
    outputs = generate(
        model,
        prompts,
        samples=samples,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
        max_new_tokens=max_new_tokens,
        progress=progress,
    )
    for prompt, paths in zip(prompts, outputs, strict=True):
        found = [extract_answer(path.text, kind) for path in paths]
        answers = [answer and answer.value for answer in found]
        results.append(Answered(prompt, paths, answers, vote(answers)))
    return results


def print_answered(results: Sequence[Answered]) -> None:
    """Prints paths and votes on stdout; the votes as bars."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    for result in results:
        console.print(Text(result.prompt, style="bold"))
        for number, (path, answer) in enumerate(
            zip(result.paths, result.answers, strict=True), 1
        ):
            line = Text(f"{number:3}  ", style="dim")
            line.append(path.text.replace("\n", " "), style="default")
            line.append(f"  [{answer or 'no answer'}]", style="cyan")
            console.print(line)
        for answer, count in sorted(
            result.vote.counts.items(), key=lambda item: -item[1]
        ):
            bar = "█" * round(30 * count / len(result.paths))
            style = "green" if answer == result.vote.winner else "default"
            console.print(Text(f"{answer:>12} {bar} {count}", style=style))
        console.print(
            Text(
                f"answer: {result.vote.winner or 'none'} "
                f"({result.vote.confidence:.0%} of {len(result.paths)} paths)\n"
            )
        )
