"""The registration once more, in the words of go-pubsub-workflow.

What was ``wfInstance.Subscribe("task", task)`` there is ``users.subscribe("task", task)`` here; ``publish_next``,
``emit_events`` and ``publish_on_events`` mean what they meant, and their lists concatenate. One thing is easier: an
event may come before its ``publish_on_events``, nothing is lost.

Run it without servers: ``python -m examples.original_style``
"""

from __future__ import annotations

from pwf_runtime import Action, Event, Workflow, connect, emit_events, publish_next, publish_on_events, result

users = Workflow("users")
documents = Workflow("documents")


def register_user(data: dict[str, str]) -> list[Action]:
    checks = publish_next("verify_email", data["email"], "verify_card", data["card"])
    paper = publish_next("documents.generate_document", data["name"])
    return checks + paper + publish_on_events("finalize", data, "email_verified", "card_verified", "document_ready")


def verify_email(data: str) -> list[Action]:
    return emit_events("email_verified", {"email": data, "valid": "@" in data})


def verify_card(data: str) -> list[Action]:
    return emit_events("card_verified", {"last_digits": data[-4:]})


def generate_document(data: str) -> list[Action]:
    return emit_events("document_ready", {"text": f"Welcome, {data}!"})


def finalize(data: dict[str, str], events: list[Event]) -> Action:
    found = {event.name: event.data for event in events}
    return result(
        {
            "name": data["name"],
            "email_valid": found["email_verified"]["valid"],
            "card": found["card_verified"]["last_digits"],
            "document": found["document_ready"]["text"],
        }
    )


users.subscribe("register_user", register_user)
users.subscribe("verify_email", verify_email)
users.subscribe("verify_card", verify_card)
users.subscribe("finalize", finalize)
documents.subscribe("generate_document", generate_document)

START = {"name": "Ada", "email": "ada@example.org", "card": "4000123412341234"}


def main() -> None:
    with connect("memory://", apps=[users, documents]) as client:
        run = client.publish("users.register_user", START)
        print(run.wait(timeout=30).result)


if __name__ == "__main__":
    main()
