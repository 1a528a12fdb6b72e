"""The event rate: exact in the long run, fair to large batches, bounded in memory."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import Code, Refusal
from ingest.registry.model import App
from ingest.registry.rate import EventRate


def app(per_minute: int | None, app_id: str = "app_x") -> App:
    """Make an app with a maximum."""
    return App(id=app_id, project_id="p", organization_id="o", events_per_minute_max=per_minute)


def wait_s(rate: EventRate, sender: App, events: int, now_ms: int) -> int:
    """Charge a batch and return 0, or the seconds of the refusal."""
    try:
        rate.charge(sender, events, now_ms)
    except Refusal as refused:
        return refused.retry_after_s or -1
    return 0


def passes(rate: EventRate, sender: App, events: int, now_ms: int) -> bool:
    """Charge a batch and tell whether it passed."""
    return wait_s(rate, sender, events, now_ms) == 0


def test_no_maximum_no_bucket() -> None:
    """An app without a maximum is never limited and costs no memory."""
    rate = EventRate()
    for _ in range(100):
        rate.check(app(None), 0)
        rate.charge(app(None), 10_000, 0)
    assert len(rate) == 0


def test_what_was_not_stored_is_given_back() -> None:
    """A batch that comes again because it could not be stored is charged once."""
    rate, sender = EventRate(), app(5)
    for _ in range(3):
        assert passes(rate, sender, 4, 0)
        rate.refund(sender, 4)
    rate.refund(app(5, "app_unseen"), 4)

    assert passes(rate, sender, 6, 0)
    assert not passes(rate, sender, 1, 0)
    assert len(rate) == 1


def test_debt_is_paid_by_waiting() -> None:
    """A batch passes while there is no debt; the refusal tells the seconds until the next one passes, rounded up."""
    rate, sender = EventRate(), app(60)
    rate.charge(sender, 60, 0)
    rate.charge(sender, 20, 0)
    for asked in (rate.check, lambda sender, now: rate.charge(sender, 1, now)):
        with pytest.raises(Refusal) as refused:
            asked(sender, 500)
        assert refused.value.code is Code.RATE_LIMITED
        assert refused.value.retry_after_s == 20
        assert refused.value.details == {"eventsPerMinuteMax": 60}
    assert not passes(rate, sender, 1, 19_999)
    assert passes(rate, sender, 1, 20_000)


def test_a_batch_larger_than_the_maximum_passes() -> None:
    """A batch of ten minutes' events passes at once, and the next one when nine of them are paid."""
    rate, sender = EventRate(), app(10)
    assert passes(rate, sender, 100, 0)
    assert not passes(rate, sender, 100, 9 * 60_000 - 1)
    assert passes(rate, sender, 100, 9 * 60_000)
    assert not passes(rate, sender, 100, 19 * 60_000 - 1)
    assert passes(rate, sender, 100, 19 * 60_000)


def test_share_divides_the_maximum() -> None:
    """Each of three processes lets a third of the maximum pass."""
    rate, sender = EventRate(share=3), app(60)
    assert passes(rate, sender, 20, 0)
    assert passes(rate, sender, 20, 0)
    assert not passes(rate, sender, 1, 59_999)
    assert passes(rate, sender, 1, 60_000)
    with pytest.raises(ValueError, match="at least 1"):
        EventRate(share=0)


def test_a_new_share_leaves_every_bucket_as_full_as_it_is() -> None:
    """Half a bucket is half of the share, and a debt is paid in the same time."""
    rate, half, debtor = EventRate(), app(60, "half"), app(60, "debtor")
    rate.charge(half, 30, 0)
    rate.charge(debtor, 80, 0)
    rate.set_share(3)
    assert passes(rate, half, 10, 0)
    assert passes(rate, half, 1, 0)
    assert not passes(rate, half, 1, 0)
    assert wait_s(rate, debtor, 1, 0) == 20
    with pytest.raises(ValueError, match="at least 1"):
        rate.set_share(0)


def test_charges_are_told_once_less_what_was_given_back() -> None:
    """What this process charged is counted by app since the last call; an app without a maximum is not in it."""
    rate = EventRate()
    rate.charge(app(60, "a"), 7, 0)
    rate.charge(app(60, "a"), 5, 0)
    rate.charge(app(60, "b"), 1, 0)
    rate.charge(app(None, "unlimited"), 9, 0)
    rate.refund(app(60, "a"), 5)
    rate.take("a", 50, 0)
    rate.check(app(60, "a"), 0)
    assert rate.pop_charges() == {"a": 7, "b": 1}
    assert rate.pop_charges() == {}
    rate.refund(app(60, "a"), 7)
    rate.charge(app(60, "b"), 1, 0)
    rate.retain({"a"})
    assert rate.pop_charges() == {"a": -7}


def test_what_others_let_pass_is_charged_and_given_back() -> None:
    """It counts like a charge of one's own, also in debt; less than nothing gives back, never beyond a full bucket."""
    rate, sender = EventRate(), app(60)
    rate.charge(sender, 1, 0)
    rate.take(sender.id, 69, 0)
    assert wait_s(rate, sender, 1, 0) == 10
    rate.take(sender.id, 60, 0)
    assert wait_s(rate, sender, 1, 0) == 70
    rate.take(sender.id, -71, 0)
    assert wait_s(rate, sender, 2, 0) == 0
    assert wait_s(rate, sender, 1, 0) == 1
    rate.take(sender.id, -1_000, 0)
    assert passes(rate, sender, 61, 0)
    assert wait_s(rate, sender, 1, 0) == 1
    rate.take("unseen", 100, 0)
    assert len(rate) == 1


def test_what_others_let_pass_finds_the_bucket_as_it_is_now() -> None:
    """Time fills the bucket up to its brim before others are charged, not after."""
    rate, sender = EventRate(), app(60)
    rate.charge(sender, 1, 0)
    rate.take(sender.id, 61, 600_000)
    assert wait_s(rate, sender, 1, 600_000) == 1


@pytest.mark.parametrize(
    ("own", "others", "wait"), [(0, 60, 0), (0, 61, 0), (0, 90, 0), (0, 91, 1), (20, 70, 0), (20, 71, 1), (70, 30, 10)]
)
def test_what_time_may_have_paid_makes_no_debt(own: int, others: int, wait: int) -> None:
    """Others' events of the last half minute empty the bucket; a debt is only what half a minute has not paid."""
    rate, sender = EventRate(), app(60)
    rate.charge(sender, own, 0)
    rate.take(sender.id, others, 0, within_ms=30_000)
    assert wait_s(rate, sender, 2, 0) == wait
    assert wait or wait_s(rate, sender, 1, 0) == max(2 - max(0, 60 - own - others), 0)


def test_a_rest_saves_one_minute_at_most() -> None:
    """However long an app was silent, it has one minute's events at hand."""
    rate, sender = EventRate(), app(60)
    rate.charge(sender, 1, 0)
    assert passes(rate, sender, 61, 10**9)
    assert not passes(rate, sender, 1, 10**9 + 999)


def test_apps_do_not_share_a_bucket_and_gone_ones_are_forgotten() -> None:
    """One app's debt is not another's, and `retain` keeps memory to the apps that are still registered."""
    rate = EventRate()
    rate.charge(app(1, "a"), 100, 0)
    rate.charge(app(1, "b"), 1, 0)
    assert len(rate) == 2
    rate.retain({"a"})
    assert len(rate) == 1
    assert not passes(rate, app(1, "a"), 1, 0)


def test_a_new_maximum_holds_at_once() -> None:
    """A debt that was made under a small maximum is paid at the new pace."""
    rate = EventRate()
    rate.charge(app(60), 120, 0)
    assert not passes(rate, app(60), 1, 30_000)
    assert passes(rate, app(120), 1, 45_000)


@settings(max_examples=60, deadline=None)
@given(
    per_minute=st.integers(1, 5_000),
    share=st.integers(1, 7),
    batches=st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 1_000)), min_size=1, max_size=60),
)
def test_long_run_rate(per_minute: int, share: int, batches: list[tuple[int, int]]) -> None:
    """What passed never exceeds one minute's events, what time has paid, and one batch; and no wait is too long."""
    rate, sender, now_ms, passed = EventRate(share), app(per_minute), 0, 0
    for gap_ms, events in batches:
        now_ms += gap_ms
        wait = wait_s(rate, sender, events, now_ms)
        if wait == 0:
            assert passed * 60_000 * share <= per_minute * (60_000 + now_ms)
            passed += events
        else:
            assert wait >= 1
            rate.check(sender, now_ms + wait * 1_000)
            with pytest.raises(Refusal):
                rate.check(sender, now_ms + wait * 1_000 - 1_001 if wait > 1 else now_ms)
