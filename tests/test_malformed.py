"""Malformed files of others: refused with a line that names them."""

import os
import random
import shutil

import pytest

from tests.malformed import KINDS, Reader, fault, make_sources, mutate

CASES = int(os.environ.get("KERAS_FLAN_MALFORMED", "300"))


@pytest.mark.slow
def test_malformed_files_are_refused_or_read(tmp_path):
    pytest.importorskip("gguf")
    sources = tmp_path / "sources"
    make_sources(sources)
    reader, faults, outcomes, most = Reader(sources), [], {}, {}
    try:
        for number in range(CASES):
            rng = random.Random(number)
            kind = list(KINDS)[number % len(KINDS)]
            folder = sources / f"{kind}-{number}"
            shutil.copytree(sources / kind, folder)
            pattern = rng.choice(KINDS[kind][1])
            path = rng.choice(sorted(folder.glob(pattern)))
            way = mutate(path, rng)
            found = reader.read(kind, folder)
            outcome = found["outcome"].partition(":")[0]
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            for key in ("seconds", "megabytes"):
                most[key] = max(most.get(key, 0), found[key])
            if wrong := fault(found, folder):
                faults.append(f"{number} {path.name} {way}: {wrong}")
            shutil.rmtree(folder)
    finally:
        reader.close()
    print(CASES, outcomes, most)
    assert not faults, "\n".join(faults)
