"""Register a user: three checks side by side in two services, and a last step that waits for all of them.

Run it without servers: ``python -m examples.registration``
"""

from __future__ import annotations

from typing import TypedDict

from pwf_runtime import Action, Event, Retry, Workflow, call, connect, emit, join, result

users = Workflow("users")
documents = Workflow("documents")


class User(TypedDict):
    name: str
    email: str
    card: str


@users.task
def register_user(data: User) -> list[Action]:
    return [
        call(verify_email, data["email"]),
        call(verify_card, data["card"]),
        call("documents.generate_document", data["name"]),  # by name, as one calls a service one cannot import
        join(finalize, data, on=["email_verified", "card_verified", "document_ready"]),
    ]


@users.task(retry=Retry(max_attempts=5, first_delay=0.5))
def verify_email(data: str) -> Action:
    return emit("email_verified", {"email": data, "valid": "@" in data})


@users.task(timeout=10.0)
def verify_card(data: str) -> Action:
    return emit("card_verified", {"last_digits": data[-4:]})


@documents.task
def generate_document(data: str) -> Action:
    return emit("document_ready", {"text": f"Welcome, {data}!"})


@users.task
def finalize(data: User, events: list[Event]) -> Action:
    """The events come in the order in which the join names them, whichever was first to happen."""
    email, card, document = (event.data for event in events)
    return result(
        {
            "name": data["name"],
            "email_valid": email["valid"],
            "card": card["last_digits"],
            "document": document["text"],
        }
    )


START = {"name": "Ada", "email": "ada@example.org", "card": "4000123412341234"}


def main() -> None:
    with connect("memory://", apps=[users, documents]) as client:
        run = client.publish("users.register_user", START)
        print(run.wait(timeout=30).result)


if __name__ == "__main__":
    main()
