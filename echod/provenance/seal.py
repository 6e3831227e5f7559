"""The last that is done to a clip: its manifest is written, and it is signed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from echod.inference.room import NoRoom
from echod.provenance import manifest
from echod.provenance.certificate import Identity

if TYPE_CHECKING:
    from echod.inference.contract import Engine, Options, Portrait
    from echod.inference.room import Room
    from echod.workers.messages import Run

log = logging.getLogger("echod.provenance")


@dataclass
class Seal:
    """Called with a clip that is finished but for that. `problem` is then why it was not signed though it was to be.

    A clip that cannot be signed is a clip all the same.
    """

    order: Run
    engine: Engine
    chosen: Options
    portrait: Portrait
    weights: dict[str, str]
    room: Room
    problem: str | None = field(default=None, init=False)

    def __call__(self, clip: Path, frames: int) -> None:
        order = self.order
        made = manifest.describe(
            job=order.job,
            engine=self.engine,
            options=order.options,
            chosen=self.chosen,
            inputs={"portrait": order.portrait_sha256, "speech": order.speech_sha256},
            portrait=self.portrait,
            weights=self.weights,
            frames=frames,
        )
        manifest.write(made, Path(order.directory))
        if order.identity:
            self._sign(clip, made, Identity(*map(Path, order.identity)))

    def _sign(self, clip: Path, made: manifest.Manifest, identity: Identity) -> None:
        from echod.provenance import credentials

        signed = clip.with_name("signed.mp4.part")
        try:
            self.room.for_copy().fit(2 * clip.stat().st_size)  # the library writes it twice
            credentials.sign(clip, signed, made, identity)
            signed.replace(clip)
        except Exception as error:  # whatever a library raises
            self.problem = str(error).strip().partition("\n")[0] or type(error).__name__
            known = isinstance(error, NoRoom | OSError)
            log.warning(
                "the clip is not signed: %s", self.problem, exc_info=None if known else error,
                extra={"job": self.order.job},
            )  # fmt: skip
        finally:
            signed.unlink(missing_ok=True)
