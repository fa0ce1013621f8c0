"""Results as Markdown, to stand in a page beside the paper's.

    python -m keras_flan.miniature.experiments.markdown RESULTS.json PAGE.md

puts each experiment's tables between the page's own lines
`<!-- NAME -->` and `<!-- end -->`; what stands around them stays.
"""

import sys
from collections.abc import Mapping

from keras_flan.pages.blocks import fill_blocks, fill_page
from keras_flan.pages.tables import markdown


def filled(text: str, results: Mapping, source: str = "page") -> str:
    """Returns a page with the tables of its experiments put in.

    Args:
        text: The page.
        results: What `collect_results` returns.
        source: What errors call the page.

    Raises:
        InputError: If the page names an experiment that was not run.
    """
    experiments = results["experiments"]
    return fill_blocks(
        text,
        experiments,
        lambda name: tables(experiments[name]),
        what="experiment",
        source=source,
    )


def tables(experiment: Mapping) -> str:
    """Returns the scores of an experiment's arms, and its claims.

    Args:
        experiment: A value of `results["experiments"]`.
    """
    columns = {"trained": "trained", "held_out": "held out"}
    if any(
        "debugging" in view["groups"]
        for one in experiment["arms"].values()
        for view in one["views"].values()
    ):
        columns["debugging"] = "new kinds of bugs"
    scores = [
        (
            arm,
            view,
            *(spread_text(groups[group]["normalised"]) for group in columns),
        )
        for arm, found in experiment["arms"].items()
        for view, groups in (
            (view, one["groups"]) for view, one in found["views"].items()
        )
    ]
    header = ("arm", "asked", *columns.values())
    number = len(experiment["seeds"])
    parts = [f"{number} seeds.\n", markdown(header, scores)]
    for arm, found in experiment["arms"].items():
        for view in found["views"].values():
            votes = view.get("by_paths", {})
            if votes:
                cells = [arm, *map(spread_text, votes.values())]
                parts.append(
                    markdown(("exact match by paths", *votes), [cells])
                )
    if experiment["checks"]:
        claims = [
            (
                check["claim"],
                spread_text(check["difference"], sign="+"),
                f"**{check['verdict']}**",
            )
            for check in experiment["checks"]
        ]
        parts.append(markdown(("claim", "difference", "verdict"), claims))
    return "\n".join(parts)


def spread_text(spread: Mapping, sign: str = "") -> str:
    """Returns `"12.3 ± 1.2"`; without the second part for one seed.

    Example:
        >>> spread_text({"mean": 2.0, "low": 1.5, "high": 2.5}, sign="+")
        '+2.0 ± 0.5'
    """
    text = f"{spread['mean']:{sign}.1f}"
    if spread["low"] is None:
        return text
    return f"{text} ± {spread['high'] - spread['mean']:.1f}"


def main() -> None:
    """Puts results into a page."""
    fill_page(filled, *sys.argv[1:])


if __name__ == "__main__":
    main()
