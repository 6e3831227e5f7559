from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from echod.jobs.job import BATCH, CONVERSATION, Job
from echod.jobs.queue import JobQueue
from tests.making.jobs import job


def queued(id: str, account: str = "a", at: float = 0.0, priority: int = BATCH) -> Job:
    return job(id=id, account=account, created_at=at, priority=priority)


def age(job: Job) -> float:
    return job.created_at


def drain(queue: JobQueue) -> list[str]:
    order = []
    while next_job := queue.pop():
        order.append(next_job.id)
    return order


def test_oldest_first_within_an_account() -> None:
    """A job that comes back takes the place its age gives it."""
    queue = JobQueue(age)
    for id, at in (("2", 2.0), ("3", 3.0), ("1", 1.0)):
        queue.push(queued(id, at=at))
    assert drain(queue) == ["1", "2", "3"]


def test_round_robin_over_accounts() -> None:
    """Fifty jobs of one account hold up nobody else: who was served the longest ago is next, or not at all yet."""
    queue = JobQueue(age)
    for index in range(50):
        queue.push(queued(f"a{index}", "a", float(index)))
    assert queue.pop() is not None
    queue.push(queued("b", "b", 99.0))
    assert [queue.pop().id for _ in range(2)] == ["b", "a1"]  # type: ignore[union-attr]
    queue.push(queued("c", "c", 99.0))
    queue.push(queued("b2", "b", 99.0))
    assert [queue.pop().id for _ in range(3)] == ["c", "b2", "a2"]  # type: ignore[union-attr]


def test_conversation_first() -> None:
    """A conversation job is next, whoever waits and however long."""
    queue = JobQueue(age)
    queue.push(queued("batch", at=1.0))
    queue.push(queued("talk", at=2.0, priority=CONVERSATION))
    assert queue.pop(conversation_only=True).id == "talk"  # type: ignore[union-attr]
    assert queue.pop(conversation_only=True) is None
    assert drain(queue) == ["batch"]


def test_unsuitable_jobs_stay() -> None:
    """A job that does not suit this worker is passed over and waits for another."""
    queue = JobQueue(age)
    for id, at in (("1", 1.0), ("2", 2.0)):
        queue.push(queued(id, at=at))
    assert queue.pop(lambda candidate: candidate.id != "1").id == "2"  # type: ignore[union-attr]
    assert drain(queue) == ["1"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([BATCH, CONVERSATION])), max_size=12))
def test_position_tells_the_order_of_dispatch(entries: list[tuple[str, int]]) -> None:
    """Every job's position is the number of jobs dispatched before it."""
    queue = JobQueue(age)
    for index, (account, priority) in enumerate(entries):
        queue.push(queued(str(index), account, float(index), priority))
    positions = {str(index): queue.position(str(index)) for index in range(len(entries))}
    assert len(queue) == len(entries)
    assert {id: place for place, id in enumerate(drain(queue))} == positions


def test_discard() -> None:
    """A discarded job is gone, an unknown one is none."""
    queue = JobQueue(age)
    queue.push(queued("1"))
    assert queue.discard("2") is None
    assert queue.discard("1") is not None
    assert (len(queue), queue.position("1")) == (0, None)
