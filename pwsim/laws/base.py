"""What a law is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from pwf_runtime.core.effects import Ack, Effect, Publish, RunTask
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


class Watch:
    """Some laws, each called only at the hooks that it overrides."""

    def __init__(self, laws: Sequence[Law]) -> None:
        def overriding(hook: str) -> tuple[Law, ...]:
            return tuple([law for law in laws if getattr(type(law), hook) is not getattr(Law, hook)])

        self._changed, self._ends = overriding("changed"), overriding("ends")
        self._runs, self._publishes, self._acks = overriding("runs"), overriding("publishes"), overriding("acks")

    def changed(self, world: World, slot: Slot, change: Change) -> None:
        for law in self._changed:
            law.changed(world, slot, change)

    def before(self, world: World, process: Process, slot: Slot, effect: Effect) -> None:
        """An effect is about to be performed."""
        kind = type(effect)
        if kind is RunTask:
            for law in self._runs:
                law.runs(world, process, slot, effect)  # type: ignore[arg-type]
        elif kind is Publish:
            message = effect.messages[0]  # type: ignore[union-attr]
            if isinstance(message, Message):
                for law in self._publishes:
                    law.publishes(world, slot, message)
        elif kind is Ack:
            for law in self._acks:
                law.acks(world, slot)

    def ends(self, world: World) -> None:
        for law in self._ends:
            law.ends(world)
