"""The pool: most recently used first, bounded, and never a connection that is not good any more."""

from __future__ import annotations

from sidecar.net.deadlines import NEVER
from sidecar.net.pool import Pool
from tests.support.world import HandDeadlines


class Idle:
    def __init__(self, *, reusable: bool = True) -> None:
        self.deadline_s = NEVER
        self.reusable = reusable
        self.closed = 0

    def close(self) -> None:
        self.closed += 1
        self.reusable = False


def pool(idle_max: int = 2) -> Pool[Idle]:
    deadlines = HandDeadlines()
    deadlines.start()
    return Pool(deadlines, idle_max=idle_max, idle_s=60)


def anyone(_one: Idle) -> bool:
    return True


def test_last_in_first_out_by_key() -> None:
    made = pool()
    a, b, other = Idle(), Idle(), Idle()
    made.give_back("k", a)
    made.give_back("k", b)
    made.give_back("o", other)
    assert made.idle_count == 3
    assert a.deadline_s == 1060
    assert [made.take("k", anyone) for _ in range(3)] == [b, a, None]
    assert made.take("o", anyone) is other
    assert made.take("nobody", anyone) is None
    assert made.idle_count == 0


def test_bounded_by_key() -> None:
    made = pool()
    kept = [Idle() for _ in range(4)]
    for one in kept:
        made.give_back("k", one)
    assert [one.closed for one in kept] == [0, 0, 1, 1]
    assert made.idle_count == 2


def test_none_is_kept_where_none_may_be() -> None:
    made, one = pool(0), Idle()
    made.give_back("k", one)
    assert one.closed == 1
    assert made.idle_count == 0


def test_what_is_not_reusable_is_closed_not_kept() -> None:
    made, one = pool(), Idle(reusable=False)
    made.give_back("k", one)
    assert one.closed == 1
    assert made.take("k", anyone) is None


def test_what_became_bad_is_closed_on_the_way() -> None:
    made = pool(4)
    good, expired, broken = Idle(), Idle(), Idle()
    for one in (good, expired, broken):
        made.give_back("k", one)
    broken.reusable = False
    assert made.take("k", lambda one: one is not expired) is good
    assert (good.closed, expired.closed, broken.closed) == (0, 1, 1)


def test_forgotten_when_closed() -> None:
    made, one, stranger = pool(), Idle(), Idle()
    made.give_back("k", one)
    made.forget("k", stranger)
    made.forget("other", one)
    assert made.idle_count == 1
    made.forget("k", one)
    made.forget("k", one)
    assert made.idle_count == 0
    assert made.take("k", anyone) is None


def test_keys_of_gone_destinations_leave_nothing_behind() -> None:
    made = pool()
    for key in range(100):
        one = Idle()
        made.give_back(key, one)
        made.take(key, anyone)
        made.give_back(key, Idle(reusable=False))
        made.forget(key, one)
    assert not made._idle


def test_close_all() -> None:
    made, ones = pool(), [Idle(), Idle()]
    made.give_back("a", ones[0])
    made.give_back("b", ones[1])
    made.close_all()
    assert [one.closed for one in ones] == [1, 1]
    assert made.idle_count == 0
