"""Two services for the kill tests: the registration example with tasks slow enough to be killed in.

How often ``finalize`` committed is counted inside the run itself: each commit emits ``finalized``, and a join waits for
a second one, in vain, until it times out.
"""

from __future__ import annotations

import time
from typing import Any

from pwf_runtime import Event, Workflow, call, emit, join, result

users = Workflow("kill_users")
documents = Workflow("kill_documents")

TASK_S = 0.15
SECOND_FINALIZE_S = 1.0


@users.task
def register_user(data: dict[str, str]) -> Any:
    time.sleep(TASK_S)
    return [
        call(verify_email, data["email"]),
        call(verify_card, data["card"]),
        call("kill_documents.generate_document", data["name"]),
        join(finalize, data, on=["email_verified", "card_verified", "document_ready"]),
    ]


@users.task
def verify_email(data: str) -> Any:
    time.sleep(TASK_S)
    return emit("email_verified", data)


@users.task
async def verify_card(data: str) -> Any:
    return emit("card_verified", data)


@documents.task
def generate_document(data: str) -> Any:
    time.sleep(TASK_S)
    return emit("document_ready", data)


@users.task
def finalize(data: dict[str, str], events: list[Event]) -> Any:
    time.sleep(TASK_S)
    seen = [[event.name, event.data] for event in events]
    return [
        emit("finalized"),
        join(twice, on={"finalized": 2}, timeout=SECOND_FINALIZE_S, on_timeout=call(once, seen)),
    ]


@users.task
def once(data: list[list[str]]) -> Any:
    return result({"finalized": "once", "events": data})


@users.task
def twice() -> Any:
    return result({"finalized": "twice"})


def start_of(number: int) -> dict[str, str]:
    return {"name": f"name-{number}", "email": f"{number}@example.org", "card": f"card-{number}"}


def end_of(number: int) -> dict[str, Any]:
    return {
        "finalized": "once",
        "events": [
            ["email_verified", f"{number}@example.org"],
            ["card_verified", f"card-{number}"],
            ["document_ready", f"name-{number}"],
        ],
    }
