"""Ways in which workflows have gone wrong elsewhere, as models that the simulator convicts.

Each is a variant of our protocol that makes the same mistake, with the law that must convict it named beforehand, and a
workflow of ours that survives the same faults. What others report is linked; some of it has been mended there since:
these are shapes to recognise, and no claims about anybody's software today. ``docs/known-bug-shapes.md`` is the table.
"""

from __future__ import annotations

from . import deliveries, joins
from .base import Shape

SHAPES: dict[str, Shape] = {shape.name: shape for shape in (*joins.SHAPES, *deliveries.SHAPES)}

__all__ = ["SHAPES", "Shape"]
