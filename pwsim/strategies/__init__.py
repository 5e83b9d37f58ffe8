"""Strategies for hypothesis: random workflows, random fault plans, random payloads.

.. code-block:: python

    @given(data=pwsim.strategies.payloads(), plan=pwsim.strategies.fault_plans(faults="crash,requeue"))
    def test_whatever_goes_wrong(data, plan):
        plan.play(app, start=("first_task", data), once_per_key=["charge"]).assert_passed()

Hypothesis draws a workflow and the faults, not single steps of a schedule: few choices, each of which means something,
so that it shrinks to the smallest workflow and the fewest faults.

The only package of ``pwsim`` that imports hypothesis, and nothing in ``pwsim`` imports it.
"""

from __future__ import annotations

from .cases import Case, cases, every_fault
from .payloads import payloads
from .plans import Plan, crash_points, fault_plans
from .workflows import workflows

__all__ = ["Case", "Plan", "cases", "crash_points", "every_fault", "fault_plans", "payloads", "workflows"]
