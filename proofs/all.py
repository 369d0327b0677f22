"""`make proof`: every long proof, one after the other, with its own verdict.

    demo           each sample task through the public API: base against every epoch's checkpoint
    validation     each checkpoint of those jobs recomputed by a plain forward pass
    recovery       kill -9 of worker, trainer and everything, each at a random step
    estimates      five kinds of job: estimated before, measured after
    trackers       a run beside a tracker that hangs for 60 s
    methods        every method and adaptation: trained, tested, exported, answered in vLLM; a table
    recipe         text, examples and preferences in a row on the starter model
    loop           examples, votes through an evaluator's link, preferences, and the next model in the same campaign
    calls          function calling taught and asked for
    refusals       a model that learned to go along with everything is flagged, one that learned tickets is not
    scratch        a few million random weights learn a small language; served by vLLM, then taught to chat
    live_curve     trainer to drawn point in a browser, 10,000 points, a job of 100,000 steps
    campaign_statistics  1,000 simulated campaigns for each rule of pairing: how often intervals hold what was planted
    judging        three evaluators in three browsers judge 60 prompts blind; a planted order comes out
    fuzz           10,000 malformed dataset files: no crash, no hang, words every time
    openapi        every operation of the served OpenAPI tried by schemathesis: no failure, no 5xx, every error in shape
    snippets       the code of the docs, run from top to bottom, the trained model asked
    clients        OpenAI's SDKs of three versions, its Node SDK, litellm and W&B's logger, row by row; a table
    walls          everybody asks every page, call and socket for what is another project's or above their role; a table
    columns        1, 2, 4 and 8 columns of the playground at once, in a browser

`python -m proofs.all NAME ...` runs some of them.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from proofs.server import home


def run(*command: str | Path) -> bool:
    print(f"\n== {' '.join(str(part) for part in command)}", flush=True)
    return subprocess.run([sys.executable, *map(str, command)], check=False).returncode == 0


def demo() -> bool:
    return run("-m", "proofs.demo", "--task", "all")


def validation() -> bool:
    """Of the jobs that the demo left in $HONE_HOME/proofs/demo.json."""
    results = json.loads((home() / "proofs" / "demo.json").read_text())
    verdicts = [run("-m", "proofs.full_validation", home() / "runs" / result["job"]) for result in results]
    return all(verdicts)


def recovery() -> bool:
    return run("-m", "proofs.recovery")


def estimates() -> bool:
    """With the starter model, where it is there."""
    starter = home() / "models" / "SmolLM2-135M-Instruct"
    return run("-m", "proofs.estimates", *(["--model", starter] if starter.is_dir() else []))


def trackers() -> bool:
    return run("-m", "proofs.trackers")


def methods() -> bool:
    return run("-m", "proofs.methods")


def recipe() -> bool:
    return run("-m", "proofs.recipe")


def loop() -> bool:
    return run("-m", "proofs.loop")


def calls() -> bool:
    return run("-m", "proofs.function_calling")


def refusals() -> bool:
    return run("-m", "proofs.refusals")


def scratch() -> bool:
    return run("-m", "proofs.scratch")


def clients() -> bool:
    return run("-m", "proofs.clients")


def walls() -> bool:
    return run("-m", "proofs.walls")


def columns() -> bool:
    return run("-m", "proofs.columns")


def fuzz() -> bool:
    return run("-m", "proofs.fuzz")


def judging() -> bool:
    return run("-m", "proofs.judging")


def openapi() -> bool:
    return run("-m", "proofs.openapi")


def snippets() -> bool:
    return run("-m", "proofs.snippets")


def live_curve() -> bool:
    return run("-m", "proofs.live_curve")


def campaign_statistics() -> bool:
    return run("-m", "proofs.campaign_statistics")


PROOFS: dict[str, Callable[[], bool]] = {
    "demo": demo,
    "validation": validation,
    "recovery": recovery,
    "estimates": estimates,
    "trackers": trackers,
    "methods": methods,
    "recipe": recipe,
    "loop": loop,
    "calls": calls,
    "refusals": refusals,
    "scratch": scratch,
    "live_curve": live_curve,
    "judging": judging,
    "clients": clients,
    "walls": walls,
    "columns": columns,
    "openapi": openapi,
    "snippets": snippets,
    "fuzz": fuzz,
    "campaign_statistics": campaign_statistics,
}


def main() -> None:
    names = sys.argv[1:] or list(PROOFS)
    verdicts = {}
    for name in names:
        began = time.monotonic()
        passed = PROOFS[name]()
        verdicts[name] = f"{'proven' if passed else 'FAILED'} in {(time.monotonic() - began) / 60:.1f} min"
    print("\n" + "\n".join(f"{name:12} {verdict}" for name, verdict in verdicts.items()))
    sys.exit(any("FAILED" in verdict for verdict in verdicts.values()))


if __name__ == "__main__":
    main()
