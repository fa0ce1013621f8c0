"""Self-consistency: many paths of reasoning, and a vote.

Purpose: Sample paths, read their answers, vote, stop early, look at it.
Time: A minute on two CPU cores.
Accelerator: None; on a GPU or TPU all paths are decoded side by side.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

from keras_flan.generation import ask, generate, path_certainties, vote
from keras_flan.generation.trace import write_trace
from keras_flan.models import load

"""
## Paths

A prompt is read once, and its paths are drawn side by side. A path depends on
the model, its prompt, its number and the settings, but not on how many others
there are: the first two of eight are the two that you get alone.
"""

# After `keras-flan quickstart`, "runs/quickstart/model" answers better.
model = load(os.environ.get("MODEL", "flan_nano"))
prompt = "Q: Tom has 4 nuts and finds 3 more. How many nuts has he?\nA:"
settings = {"temperature": 0.7, "top_k": 40, "max_new_tokens": 48, "seed": 0}
[eight] = generate(model, [prompt], samples=8, **settings)
[two] = generate(model, [prompt], samples=2, **settings)
assert [path.text for path in two] == [path.text for path in eight[:2]]
for path in eight[:2]:
    print(f"{path.log_probability:8.2f}  {path.text}")

"""
## Votes

`ask` writes the prompt, reads the answers and counts them. An answer that could
not be found abstains: it never wins, and lowers the confidence.
"""

questions = [
    "Tom has 4 nuts and finds 3 more. How many nuts has he?",
    "A bus has 12 seats, 5 are taken. How many are free?",
]
answered = ask(
    model, questions, cot=True, samples=8, kind="number", max_new_tokens=48
)
for one in answered:
    share = one.vote.confidence
    print(one.vote.winner, one.vote.counts, f"{share:.0%} of the paths")

"""
Votes can be weighed, for example by how sure the model was of each path:
"""

[first, _] = answered
weights = path_certainties(model, [first.prompt], [first.paths])[0]
print(vote(first.answers, weights=weights).winner)

"""
## No more paths than it takes

With `adaptive=0.95` paths are drawn until the leader is that likely to stay
ahead (arXiv:2305.11860).
"""

[thrifty] = ask(
    model,
    questions[:1],
    cot=True,
    samples=40,
    adaptive=0.95,
    kind="number",
    max_new_tokens=48,
)
print(f"{len(thrifty.paths)} paths of at most 40")

"""
## A page

`trace.html` shows the paths side by side with their answers marked.
"""

write_trace("runs/guide_votes", answered, {"samples": 8}, overwrite=True)
