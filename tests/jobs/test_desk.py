from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
from pathlib import Path

import msgspec
import pytest

from echod.errors import EchodError
from echod.host import strays
from echod.jobs import folder, life
from echod.jobs.job import CONVERSATION, Draft, Job, new_job_id
from echod.jobs.rows import JobRows
from echod.jobs.sweep import sweep
from tests.drivers.office import Office, open_office
from tests.making.config import make_config
from tests.making.jobs import done


def changed(draft: Draft, **fields: object) -> Draft:
    return msgspec.structs.replace(draft, **fields)


async def test_accepted_is_durable(office: Office) -> None:
    """When accept returns, the row is committed and the inputs are the job's own."""
    job = await office.desk.accept(office.draft)
    assert await office.desk.rows.get(job.id) == job
    assert office.draft.speech_file is not None
    office.draft.portrait_file.unlink()
    office.draft.speech_file.unlink()
    assert {path.name for path in office.desk.directory(job.id).iterdir()} == {"portrait.png", "speech.flac"}
    assert (job.status, job.engine, office.desk.queue.position(job.id)) == ("queued", "preview", 0)


async def test_inputs_on_another_file_system(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs that cannot be linked are copied."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", refuse)
    job = await office.desk.accept(office.draft)
    copy = office.desk.directory(job.id) / "portrait.png"
    assert copy.read_bytes() == office.draft.portrait_file.read_bytes()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EDQUOT, "disk_full"),
        (errno.EROFS, "disk_failed"),
        (errno.EIO, "disk_failed"),
        (errno.EACCES, "disk_failed"),
        (errno.ENOENT, "not_found"),
        (errno.EMFILE, "internal"),
    ],
)
async def test_unstorable_inputs_leave_nothing(
    office: Office, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    """When the inputs cannot be stored the job is refused, and neither a row nor a file stays."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfile", refuse)
    with pytest.raises(EchodError) as refused:
        await office.desk.accept(office.draft)
    assert refused.value.code == code
    assert list(office.desk.root.iterdir()) == []
    assert await office.desk.list(None) == ([], False)


@pytest.mark.parametrize("limits", [{"queue_limit": 2}, {"jobs_per_account": 2}])
async def test_a_conversation_is_not_held_up_by_a_full_queue(office: Office) -> None:
    """Its clips go before all batch jobs, and are counted among themselves."""
    sentence = changed(office.draft, priority=CONVERSATION)
    for draft in (office.draft, office.draft, sentence, sentence):
        await office.desk.accept(draft)
    for draft in (office.draft, sentence):
        with pytest.raises(EchodError) as refused:
            await office.desk.accept(draft)
        assert refused.value.code in ("queue_full", "quota_exceeded")


@pytest.mark.parametrize("limits", [{"queue_limit": 2}])
async def test_queue_limit_counts_what_is_being_accepted(office: Office) -> None:
    """Submits that arrive together never exceed the limit; the refusal names limit and setting."""
    outcomes = await asyncio.gather(*(office.desk.accept(office.draft) for _ in range(5)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, EchodError)]
    assert [error.code for error in refused] == ["queue_full"] * 3
    assert "queue_limit is 2" in refused[0].message
    assert len(office.desk.queue) == 2


@pytest.mark.parametrize("limits", [{"min_free": "1000000GiB"}])
async def test_disk_space_is_checked(office: Office) -> None:
    """Below min_free nothing is accepted."""
    with pytest.raises(EchodError, match="min_free") as refused:
        await office.desk.accept(office.draft)
    assert refused.value.code == "disk_full"


@pytest.mark.parametrize("limits", [{"disk_per_account": "20KB"}])
async def test_the_quota(office: Office) -> None:
    """Inputs and clips count, what jobs share once; an account that has no more left is refused until it removes some.

    A start counts what is there.
    """
    quota, draft = office.desk.quota, office.draft
    assert draft.speech_file
    inputs = draft.portrait_file.stat().st_size + draft.speech_file.stat().st_size
    first, second = [await office.desk.accept(draft) for _ in range(2)]
    assert quota.used("a") == inputs < 20_000
    (office.desk.directory(first.id) / "clip.mp4").write_bytes(bytes(20_000))
    await office.run(first, done())
    assert quota.used("a") == inputs + 20_000
    with pytest.raises(EchodError, match="disk_per_account") as refused:
        await office.desk.accept(draft)
    assert refused.value.code == "quota_exceeded"
    await office.desk.accept(changed(draft, account="b"))
    (office.desk.directory(second.id) / "stream.1.mp4").write_bytes(bytes(20_000))
    await office.run(second, life.Failed(attempt=1, code="no_face_detected", message="none"))
    await sweep(office.desk)
    assert quota.used("a") == inputs + 20_000
    again = await open_office(office.desk.settings.now, office.desk.rows.journal, draft.portrait_file.parent)
    assert again.desk.quota.used("a") == inputs + 20_000
    await office.desk.remove(first.id, "a")
    assert quota.used("a") == inputs
    await office.desk.accept(draft)


async def test_refusals(office: Office) -> None:
    """A draining daemon and one without a device accept nothing; an engine that is not loaded is named."""
    with pytest.raises(EchodError, match="preview, other") as refused:
        await office.desk.accept(changed(office.draft, engine="echomimic"))
    assert refused.value.code == "model_not_loaded"
    office.fleet.refuses = EchodError("no_device", "broken")
    with pytest.raises(EchodError, match="broken"):
        office.desk.check_open("a")
    office.desk.draining = True
    with pytest.raises(EchodError) as refused:
        office.desk.check_open("a")
    assert refused.value.code == "draining"


async def test_idempotency(office: Office) -> None:
    """The same key and fingerprint give the first job, however many come at once; another fingerprint is a conflict."""
    same = changed(office.draft, idempotency_key="k", fingerprint="f")
    jobs_made = await asyncio.gather(*(office.desk.accept(same) for _ in range(5)))
    assert len({job.id for job in jobs_made}) == 1
    assert [path.name for path in office.desk.root.iterdir()] == [jobs_made[0].id]
    with pytest.raises(EchodError) as refused:
        await office.desk.accept(changed(same, fingerprint="g"))
    assert refused.value.code == "idempotency_conflict"
    assert await office.desk.replay("a", "k", "f") == jobs_made[0]
    assert await office.desk.replay("b", "k", "f") is None
    office.clock.now += 24 * 3600 + 1
    assert await office.desk.replay("a", "k", "f") is None
    assert not await office.desk.knows("a", "k")


async def test_clients_see_what_is_committed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end is shown and told only after its commit, and a journal that fails for a while loses nothing."""
    monkeypatch.setattr("echod.jobs.desk.COMMIT_RETRY", 0.01)
    job = await office.desk.accept(office.draft)
    await office.run(job)
    full = asyncio.Event()
    real, failures = office.desk.rows.save, 3

    def save_job(job: Job) -> asyncio.Future[None]:
        nonlocal failures
        if failures:
            failures -= 1
            refused = asyncio.get_running_loop().create_future()
            refused.set_exception(EchodError("disk_full", "no space"))
            full.set()
            return refused
        return real(job)

    monkeypatch.setattr(office.desk.rows, "save", save_job)
    watcher = office.desk.feed.watch_job(job)
    await anext(watcher)
    ending = asyncio.create_task(office.desk.apply(job.id, done()))
    await full.wait()
    assert (await office.desk.find(job.id, "a")).status == "in_progress"
    await ending
    assert (await office.desk.find(job.id, "a")).status == "completed"
    assert (await asyncio.wait_for(anext(watcher), 10)).type == "job.completed"


class Stuck:
    """A journal whose disk is full for as long as `full` says."""

    def __init__(self, rows: JobRows) -> None:
        self.full = True
        self.refused = asyncio.Event()
        self._save = rows.save

    def save(self, job: Job) -> asyncio.Future[None]:
        if not self.full:
            return self._save(job)
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(EchodError("disk_full", "no space"))
        self.refused.set()
        return refused


async def test_a_late_commit_undoes_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that waited for the journal is not written over the steps that came after it."""
    monkeypatch.setattr("echod.jobs.desk.COMMIT_RETRY", 0.01)
    job = await office.desk.accept(office.draft)
    await office.run(job)
    stuck = Stuck(office.desk.rows)
    monkeypatch.setattr(office.desk.rows, "save", stuck.save)
    cancelling = asyncio.create_task(office.desk.cancel(job.id, "a"))
    await stuck.refused.wait()
    stuck.full = False
    await office.desk.apply(job.id, done())
    await cancelling
    assert (await office.desk.find(job.id, "a")).status == "completed"
    assert await office.desk.rows.unfinished() == []


async def test_a_full_disk_does_not_hold_up_the_end(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that ends gives up what it cannot commit: the next start runs the job again."""
    monkeypatch.setattr("echod.jobs.desk.COMMIT_RETRY", 0.01)
    job = await office.desk.accept(office.draft)
    await office.run(job)
    stuck = Stuck(office.desk.rows)
    monkeypatch.setattr(office.desk.rows, "save", stuck.save)
    ending = asyncio.create_task(office.desk.apply(job.id, done()))
    await stuck.refused.wait()
    await asyncio.wait_for(office.desk.close(), 10)
    await ending
    assert [left.id for left in await office.desk.rows.unfinished()] == [job.id]


async def test_only_the_owner_reads_what_people_sent(office: Office) -> None:
    """Whatever the mode of a state directory that was there before, other users of the machine see no input."""
    assert stat.S_IMODE(office.desk.root.stat().st_mode) == 0o700


async def test_settings_of_another_state_directory(office: Office, tmp_path: Path) -> None:
    """A reload that names another state directory does not break accepting: this daemon keeps its own."""
    office.desk.settings.now = make_config(tmp_path, state_dir=tmp_path / "elsewhere")
    await office.desk.accept(office.draft)


async def test_cancel_while_the_attempt_is_committed(office: Office) -> None:
    """A cancel between taking a job and sending it shows in what `begin` returns."""
    job = await office.desk.accept(office.draft)
    office.desk.queue.discard(job.id)
    begun, _ = await asyncio.gather(office.desk.begin(job.id, "cpu"), office.desk.cancel(job.id, "a"))
    assert begun is not None
    assert begun.cancel_requested
    assert office.fleet.cancelled == [job.id]


async def test_begin_of_a_cancelled_job(office: Office) -> None:
    """A job that ended while it was taken from the queue is not begun."""
    job = await office.desk.accept(office.draft)
    await office.desk.cancel(job.id, "a")
    assert await office.desk.begin(job.id, "cpu") is None


async def test_removal_waits_for_the_end(office: Office) -> None:
    """Removing a running job cancels it, waits, and leaves neither row nor files."""
    job = await office.desk.accept(office.draft)
    await office.run(job)
    removal = asyncio.create_task(office.desk.remove(job.id, "a"))
    async with asyncio.timeout(10):
        while not office.fleet.cancelled:  # noqa: ASYNC110  (a few turns of the loop)
            await asyncio.sleep(0)
    assert not removal.done()
    await office.desk.apply(job.id, life.Cancelled())
    await removal
    with pytest.raises(EchodError):
        await office.desk.find(job.id, None)
    assert not office.desk.directory(job.id).exists()


async def test_others_jobs_do_not_exist(office: Office) -> None:
    """Another account's job is not found, cancelled, removed or listed."""
    job = await office.desk.accept(office.draft)
    for attempt in (office.desk.find, office.desk.cancel, office.desk.remove):
        with pytest.raises(EchodError) as refused:
            await attempt(job.id, "b")
        assert refused.value.code == "not_found"
    assert await office.desk.list("b") == ([], False)


async def test_pages(office: Office) -> None:
    """Pages follow each other without gap or overlap and say whether there is more."""
    made = [(await office.desk.accept(office.draft)).id for _ in range(5)]
    first, more = await office.desk.list("a", limit=3)
    rest, no_more = await office.desk.list("a", after=first[-1].id, limit=3)
    assert [job.id for job in (*first, *rest)] == made[::-1]
    assert (more, no_more) == (True, False)


async def test_next_start(office: Office, tmp_path: Path) -> None:
    """What was in progress is queued again, a wanted cancel is carried out; directories without a job do not stay."""
    running, doomed, ended = [await office.desk.accept(office.draft) for _ in range(3)]
    for job in (running, doomed):
        await office.run(job)
    await office.run(ended, done())
    await office.desk.cancel(doomed.id, "a")
    half, forgotten = (office.desk.root / new_job_id() for _ in range(2))
    strays.make(half)
    forgotten.mkdir()
    (forgotten / "clip.mp4").touch()
    next_office = await open_office(office.desk.settings.now, office.desk.rows.journal, tmp_path)
    statuses = [(await next_office.desk.find(job.id, None)).status for job in (running, doomed, ended)]
    assert statuses == ["queued", "cancelled", "completed"]
    assert next_office.desk.queue.position(running.id) == 0
    kept = {path.name for path in office.desk.root.iterdir()}
    assert kept == {running.id, doomed.id, ended.id, "aside"}
    assert (office.desk.root / "aside" / forgotten.name / "clip.mp4").exists()


@pytest.mark.parametrize("running", [False, True])
async def test_clips_of_a_conversation_end_with_the_daemon(office: Office, tmp_path: Path, running: bool) -> None:
    """Nobody waits for them after a restart: they are cancelled, which says why, and are swept like others."""
    job = await office.desk.accept(changed(office.draft, priority=CONVERSATION))
    if running:
        await office.run(job)
        (office.desk.directory(job.id) / "stream.1.mp4").touch()
    desk = (await open_office(office.desk.settings.now, office.desk.rows.journal, tmp_path)).desk
    found = await desk.find(job.id, None)
    assert found.status == "cancelled"
    assert found.error is not None
    assert "the daemon ended" in found.error.message
    assert found.expires_at == office.clock.now + desk.settings.now.keep_clips
    assert {path.name for path in desk.directory(job.id).iterdir()} == {"portrait.png", "speech.flac"}
    assert len(desk.queue) == 0


async def test_clips_expire(office: Office) -> None:
    """A sweep removes ended jobs once their time is over, and never one that has not ended."""
    old, waiting = await office.desk.accept(office.draft), await office.desk.accept(office.draft)
    await office.run(old, done())
    expires_at = (await office.desk.find(old.id, None)).expires_at
    assert expires_at == office.clock.now + office.desk.settings.now.keep_clips
    await sweep(office.desk)
    assert [job.id for job in (await office.desk.list(None))[0]] == [waiting.id, old.id]
    office.clock.now = expires_at + 1
    await sweep(office.desk)
    assert [job.id for job in (await office.desk.list(None))[0]] == [waiting.id]
    assert not office.desk.directory(old.id).exists()


@pytest.mark.parametrize("limits", [{"clips_cap": "1MiB"}])
async def test_oldest_clips_make_room(office: Office) -> None:
    """Over the cap the oldest clips go first."""
    made = []
    for _ in range(3):
        job = await office.desk.accept(office.draft)
        (office.desk.directory(job.id) / "clip.mp4").write_bytes(bytes(500_000))
        await office.run(job, done())
        office.clock.now += 1
        made.append(job.id)
    await sweep(office.desk)
    assert [job.id for job in (await office.desk.list(None))[0]] == made[:0:-1]


async def test_removal_frees_bytes_before_the_journal_is_written(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the journal has room only then; a removal that was cut short is finished by the next sweep."""
    job, kept = await office.desk.accept(office.draft), await office.desk.accept(office.draft)
    for each in (job, kept):
        await office.run(each, done())
    directory = office.desk.directory(job.id)

    async def full(job_id: str) -> None:
        assert list(directory.iterdir()) == []
        raise EchodError("disk_full", "no room")

    with monkeypatch.context() as patch:
        patch.setattr(office.desk.rows, "remove", full)
        with pytest.raises(EchodError, match="no room"):
            await office.desk.remove(job.id, "a")
    await sweep(office.desk)
    assert [left.id for left in (await office.desk.list(None))[0]] == [kept.id]
    assert not directory.exists()


async def test_removal_that_the_disk_refuses(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be removed keeps its row, the refusal has the disk's code, and a sweep goes on to the others."""
    stuck, expired = await office.desk.accept(office.draft), await office.desk.accept(office.draft)
    for each in (stuck, expired):
        await office.run(each, done())
    unlink = Path.unlink

    def read_only(path: Path, missing_ok: bool = False) -> None:
        if path.parent == office.desk.directory(stuck.id):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(EchodError, match="Read-only file system") as refused:
        await office.desk.remove(stuck.id, "a")
    assert (refused.value.code, refused.value.status) == ("disk_failed", 507)
    office.clock.now += office.desk.settings.now.keep_clips + 1
    await sweep(office.desk)
    assert [job.id for job in (await office.desk.list(None))[0]] == [stuck.id]
    assert "cannot be removed" in caplog.text
    monkeypatch.undo()
    await sweep(office.desk)
    assert (await office.desk.list(None))[0] == []


async def test_clips_that_are_out_of_sight_are_kept(office: Office) -> None:
    """A row whose directory is missing stays: the disk with it may come back."""
    job = await office.desk.accept(office.draft)
    await office.run(job, done())
    aside = office.desk.root.rename(office.desk.root.with_name("aside"))
    await sweep(office.desk)
    aside.rename(office.desk.root)
    assert (await office.desk.find(job.id, "a")).status == "completed"


async def test_attempts_leave_nothing_half_done(office: Office) -> None:
    """After its end a job's directory holds no part and no stream, and without success no clip."""
    job = await office.desk.accept(office.draft)
    await office.run(job)
    directory = office.desk.directory(job.id)
    for name in ("clip.mp4.part", "stream.1.mp4", "clip.mp4", "thumbnail.jpg", "manifest.json"):
        (directory / name).touch()
    await office.desk.apply(job.id, life.Failed(attempt=1, code="internal", message="broke"))
    assert {path.name for path in directory.iterdir()} == {"portrait.png", "speech.flac"}
    shutil.rmtree(directory)


async def test_end_that_cannot_be_tidied(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In a directory that is read-only a job ends and the next daemon starts all the same; a later sweep tidies it."""
    ended, doomed = [await office.desk.accept(office.draft) for _ in range(2)]
    for job in (ended, doomed):
        await office.run(job)
        (office.desk.directory(job.id) / "thumbnail.jpg").touch()
    await office.desk.cancel(doomed.id, "a")

    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", read_only)
        await office.desk.apply(ended.id, life.Failed(attempt=1, code="internal", message="broke"))
        desk = (await open_office(office.desk.settings.now, office.desk.rows.journal, tmp_path)).desk
    warned = [record.job for record in caplog.records if record.levelname == "WARNING"]  # type: ignore[attr-defined]
    assert warned == [ended.id, doomed.id]
    await sweep(desk)
    for job in (ended, doomed):
        assert {path.name for path in desk.directory(job.id).iterdir()} == {"portrait.png", "speech.flac"}


async def test_deleted_while_its_end_is_tidied(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose directory vanishes between two looks at it has ended all the same."""
    job = await office.desk.accept(office.draft)
    await office.run(job)
    scan = os.scandir

    def scan_late(path: Path) -> object:
        monkeypatch.undo()
        shutil.rmtree(path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", scan_late)
    await office.desk.apply(job.id, life.Failed(attempt=1, code="internal", message="broke"))
    assert not office.desk.directory(job.id).exists()
    assert (await office.desk.find(job.id, None)).status == "failed"


@pytest.mark.parametrize(("noted", "shown"), [("0.6", 0.6), ("", 0.0), ("nan", 0.0), (None, 0.0)])
async def test_progress_of_a_job_that_outlived_its_daemon(
    office: Office, tmp_path: Path, noted: str | None, shown: float
) -> None:
    """The next daemon shows at once what the clip had come to, if that is still there."""
    job = await office.desk.accept(office.draft)
    await office.desk.begin(job.id, "cpu")
    if noted is not None:
        (office.desk.directory(job.id) / folder.BOARD).mkdir()
        folder.note_progress(office.desk.directory(job.id), 0.5)
        (office.desk.directory(job.id) / folder.PROGRESS).write_text(noted)
    await office.desk.apply(job.id, life.Progressed(attempt=1, stage="denoise", progress=0.6))  # not journaled
    again = await open_office(office.desk.settings.now, office.desk.rows.journal, tmp_path)
    found = await again.desk.find(job.id, None)
    assert (found.status, found.progress) == ("queued", shown)
