"""What this project is, shown in a terminal in under a minute, without a server: ``make demo``.

Everything below the heading lines is the real thing: the first part runs a worker and a client, the others are commands
of ``pwsim`` that can be typed as they are shown.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from pwf_runtime import connect

from .registration import START, documents, users

PAIRS_BUDGET_S = 25
PAIRS = "crash,reply-lost,stall,duplicate"
APPS = "examples.registration:users,examples.registration:documents"
DATA = '{"name": "Ada", "email": "ada@example.org", "card": "4000123412341234"}'
PROGRAM = (APPS, "--start", f"register_user={DATA}")
BUG = "parked-call-forgotten"

PASSED, VIOLATED, INCONCLUSIVE = 0, 1, 3

STORY = """\
    register_user ─┬─▶ verify_email ────────────────▶ "email_verified" ─┐
                   ├─▶ verify_card ─────────────────▶ "card_verified"  ─┼─▶ finalize
                   └─▶ documents.generate_document ─▶ "document_ready" ─┘   (runs once, with all three)
"""


def heading(number: int, title: str) -> None:
    print(f"\n\033[1m{number}. {title}\033[0m\n" if sys.stdout.isatty() else f"\n{number}. {title}\n", flush=True)


def say(*lines: str) -> None:
    print("\n".join(lines), flush=True)


def pwsim(*arguments: str, expect: Sequence[int], show: int = 1000) -> str:
    """Run the command as a user would, show up to ``show`` lines of what it says, and return that."""
    shown = " ".join(f"'{argument}'" if '"' in argument else argument for argument in arguments)
    say("$ pwsim " + shown.replace(" --start", " \\\n      --start").replace("}' --", "}' \\\n      --"))
    command = [sys.executable, "-m", "pwsim", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if len(lines) <= show:
                print(f"  {line}", end="", flush=True)
    if len(lines) > show:
        say(f"  ... and the same {len(lines) - show} lines as above")
    print(flush=True)
    if process.returncode not in expect:
        sys.exit(
            f"the demo went wrong: pwsim ended with {process.returncode}, expected {' or '.join(map(str, expect))}"
        )
    return "".join(lines)


def run_it() -> None:
    heading(1, "A workflow, running: a real worker and a real client, with memory in place of RabbitMQ and Redis")
    say("A task is a plain function that returns what happens next (see examples/registration.py):", "", STORY)
    with connect("memory://", apps=[users, documents]) as client:
        run = client.publish("users.register_user", START)
        outcome = run.wait(timeout=30)
    say(f"run {run.id} is {outcome.status}; its result:", f"  {outcome.result}")
    if outcome.status != "completed":
        sys.exit("the demo went wrong: the run did not complete")


def break_it() -> None:
    heading(2, "The same workflow, with everything going wrong that can")
    say(
        "The simulator runs the same code of the protocol in virtual time and lets things go wrong: workers and the",
        "client die, stall, lose answers and connections; the broker doubles or loses messages; the store falls back",
        "to an earlier state. First one such fault per run, at every place where it can strike. In each run it checks",
        "the laws, such as: the join fires exactly once, with the right events, and nothing is lost or left behind.",
        "",
    )
    pwsim("run", *PROGRAM, "--strategy", "faults", "--faults", "all", "--max-faults", "1", expect=[PASSED])
    say(
        "Then two faults per run: every pair of crashes, lost answers, stalls and doubled messages. The second may",
        f"strike in the recovery from the first. (If {PAIRS_BUDGET_S} s are too short for all, it says inconclusive.)",
        "",
    )
    pairs = ("--strategy", "faults", "--faults", PAIRS, "--max-faults", "2", "--budget", str(PAIRS_BUDGET_S))
    pwsim("run", *PROGRAM, *pairs, expect=[PASSED, INCONCLUSIVE])


def catch_a_bug() -> None:
    heading(3, "What a bug looks like when it is caught")
    say(
        "A checker that finds nothing proves nothing, so there are bugs planted for it. In this one, a worker that",
        "meets a call which somebody else has claimed drops the message, and sets no timer to look again.",
        "",
    )
    said = pwsim("run", *PROGRAM, "--planted", BUG, "--strategy", "faults", "--faults", "crash", expect=[VIOLATED])
    replay = re.search(r"pwsim replay (\S+\.toml)", said)
    if replay is None:
        sys.exit("the demo went wrong: no line that replays the failure")
    path = Path(replay[1])
    say(
        f"It is the smallest set of faults that still fails, saved in {path}.",
        "The file replays anywhere, step for step (--strict: the very same trace):",
        "",
    )
    pwsim("replay", str(path), "--strict", expect=[VIOLATED], show=3)
    say("And the same fault without the planted bug:", "")
    pwsim("replay", str(_without_the_bug(path)), expect=[PASSED])


def _without_the_bug(path: Path) -> Path:
    """The scenario in ``path`` with the real protocol: the bug, and what was found because of it, left out."""
    dropped = ("planted", "expect", "trace", "about")
    kept = [line for line in path.read_text("utf-8").splitlines() if line.partition(" = ")[0] not in dropped]
    sound = path.parent.with_name("demo-without-the-bug.toml")
    sound.write_text("\n".join(kept) + "\n", "utf-8")
    assert "planted" not in tomllib.loads(sound.read_text("utf-8"))
    return sound


def close() -> None:
    heading(4, "What you have seen, and what to try next")
    say(
        "- A workflow with a fork and a join over two services ran, and its result was right.",
        "- The same tasks and the same protocol went through every single fault and the pairs named above, with 2",
        "  workers per service, in the default order of steps. That is the bound of what was shown: no more.",
        "- A planted bug was found, reduced to one fault, told in one sentence, and replayed from a file.",
        "",
        "Your own workflow is simulated the same way:",
        '  .venv/bin/pwsim run mymodule:app --start \'first_task={"some": "data"}\'',
        "All planted bugs, and the law that convicts each:",
        "  .venv/bin/pwsim planted",
        "The tests, with a real RabbitMQ and Redis that are killed and restarted:",
        "  make test",
        "How it works, what is guaranteed, how to run it in earnest: README.md, docs/guarantees.md, docs/operations.md",
    )


def main() -> None:
    run_it()
    break_it()
    catch_a_bug()
    close()


if __name__ == "__main__":
    main()
