"""What a law is."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pwf_runtime.core.effects import RunTask
from pwf_runtime.core.model import Message

if TYPE_CHECKING:
    from ..history import Change
    from ..world.process import Process, Slot
    from ..world.world import World


class Violated(Exception):
    """A law was broken. ``sentence`` says what happened, in terms of the user's tasks."""

    def __init__(self, law: str, sentence: str) -> None:
        super().__init__(f"{law}: {sentence}")
        self.law = law
        self.sentence = sentence


class Law:
    """Watches a world. A law overrides the hooks it needs; each may raise through ``broken``."""

    name: ClassVar[str]
    title: ClassVar[str]

    def broken(self, sentence: str) -> Violated:
        return Violated(self.name, sentence)

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        """A transaction was performed for ``slot``."""

    def runs(self, world: World, process: Process, slot: Slot, effect: RunTask) -> None:
        """A task is about to run."""

    def publishes(self, world: World, slot: Slot, message: Message) -> None:
        """A message is about to be published."""

    def acks(self, world: World, slot: Slot) -> None:
        """A delivery is about to be acked."""

    def ends(self, world: World) -> None:
        """Nothing can happen any more."""
