"""A bounded run of the HTTP/1 fuzzer; `python tests/wire/fuzz_http1.py` runs it for long."""

from __future__ import annotations

import random

from tests.wire.fuzz_http1 import fuzz

ROUNDS = 3000


def test_mutated_http1_messages(rng: random.Random) -> None:
    seed = rng.getrandbits(32)
    print(f"seed {seed}")
    done, accepted = fuzz(seed, rounds=ROUNDS)
    assert done == ROUNDS
    assert accepted > ROUNDS // 50, "the mutations are too wild to test what is accepted"
