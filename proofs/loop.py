"""The whole loop on the starter model: examples, votes, preferences, and the next model before the same judge.

    python -m proofs.loop [--model SmolLM2-135M-Instruct] [--votes 40]

1. A model learns the house voice from examples (one epoch, so that there is something left to teach).
2. A campaign puts it beside the base model, blind. A program judges through the evaluator's link, page by page as a
   browser would: of two answers it prefers the one that keeps the house voice, by training/samples/score.py, which the
   page knows nothing of. Where both keep it as well, it calls a tie.
3. The votes become a preference file on the page "What the votes teach".
4. A preference job (DPO) starts from the model of 1 and learns from that file.
5. Its checkpoint joins the same campaign, on the same frozen prompts, and the program judges on.
Prints the finding of the new model against the one before with its interval, whatever it is. Ends with 1 when a part of
the loop did not work; that the new model must win is not asked.
"""

import argparse
import html
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
from openai import OpenAI

from proofs.demo import BASE, LORA, SAMPLES, DemoFailed, follow
from proofs.recipe import upload
from proofs.screen import Screen, table
from proofs.server import Hone, NoServer, find_or_start
from training.samples import score

TASK = "tone"
ROOT = Path(__file__).resolve().parent.parent
VOICE = "House voice"
WAIT_SECONDS = 1800
PAUSE_SECONDS = 0.6  # between two verdicts: an evaluator has at most 120 a minute


class Pages:
    """A person's side of the site: forms with their hidden token, and what comes back as text."""

    def __init__(self, url: str) -> None:
        self.client = httpx2.Client(base_url=url, timeout=120, follow_redirects=True)
        self.token = ""  # of the last page, as its forms carry it

    def get(self, path: str) -> str:
        return self._text(self.client.get(path))

    def post(self, path: str, fields: dict[str, Any]) -> "tuple[str, str]":
        """The path that it ended at, and the page there."""
        answer = self.client.post(path, data={**fields, "csrfmiddlewaretoken": self.token})
        return answer.url.path, self._text(answer)

    def _text(self, answer: httpx2.Response) -> str:
        if answer.status_code >= 400:
            said = re.sub(r"<[^>]+>|\s+", " ", answer.text)[:1500]
            raise DemoFailed(f"{answer.request.method} {answer.url.path} answered {answer.status_code}: {said}")
        if found := re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.text):
            self.token = found[1]
        return answer.text


def signed_in(hone: Hone) -> Pages:
    """By the link that the owner gets on the command line."""
    words = [sys.executable, "manage.py", "sign_in_link"]
    said = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found = re.search(r"https?://[^/\s]+(/\S+)", said)
    if not found:
        raise DemoFailed(f"manage.py sign_in_link said: {said}")
    pages = Pages(hone.url)
    pages.get(found[1])
    return pages


# ---- the parts of the loop ----


def learn_examples(client: OpenAI, screen: Screen, model: str) -> str:
    def sample(part: str) -> str:
        return upload(client, f"{TASK}-{part}", (SAMPLES / TASK / f"{part}.jsonl").read_bytes())

    job = client.fine_tuning.jobs.create(
        model=model,
        training_file=sample("train"),
        validation_file=sample("valid"),
        seed=42,
        suffix="voice",
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}},
        extra_body={"lora": LORA},
    )
    return str(follow(client, screen, job).fine_tuned_model)


def learn_preferences(client: OpenAI, screen: Screen, start: str, file_id: str) -> str:
    job = client.fine_tuning.jobs.create(
        model=start,
        training_file=file_id,
        seed=42,
        suffix="votes",
        method={"type": "dpo", "dpo": {"hyperparameters": {"batch_size": 4}}},
        extra_body={"lora": LORA},
    )
    return str(follow(client, screen, job).fine_tuned_model)


def begin_campaign(pages: Pages, models: list[str], votes: int) -> str:
    """Its address."""
    asked = [row["messages"][-1]["content"] for row in score.heldout(TASK)]
    page = pages.get("/campaigns/new/?models=" + ",".join(models))
    fields = {**_hidden(page), "name": VOICE, "instructions": "Which answer would you sign with our name?"}
    fields |= {"prompts": "lines", "text": "\n---\n".join(asked), "count": "60", "votes_per_pair": str(votes)}
    fields |= {"repeats": "10", "pairing": "balanced", "opens_itself": "on", "start": "1"}
    fields |= {"temperature": "0", "max_tokens": "96", "top_p": "1", "seed": "1", "system": _system()}
    for name in ("own", "own_temperature", "own_max_tokens"):  # the columns stand side by side in the form
        fields[name] = [""] * len(models)
    path, _ = pages.post("/campaigns/new/", fields)
    if "/campaigns/camp_" not in path:
        raise DemoFailed(f"The campaign was not begun; the form stands at {path}")
    return path


def _system() -> str:
    """What the held-out prompts give every model."""
    first = score.heldout(TASK)[0]["messages"][0]
    return str(first["content"]) if first["role"] == "system" else ""


def _hidden(page: str) -> dict[str, Any]:
    """What a form carries along without showing it; a name that comes several times as a list."""
    found: dict[str, Any] = {}
    for tag in re.findall(r"<input[^>]*type=\"hidden\"[^>]*>", page):
        name, value = (re.search(rf'{each}="([^"]*)"', tag) for each in ("name", "value"))
        if name and name[1] != "csrfmiddlewaretoken":
            found.setdefault(name[1], []).append(html.unescape(value[1]) if value else "")
    return found


def await_open(pages: Pages, screen: Screen, campaign: str) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        page = pages.get(campaign)
        if "contenders are answering" not in page:
            return
        screen.status(_words(page))
        time.sleep(2)
    raise DemoFailed(f"{campaign} is not open after {WAIT_SECONDS} s")


def _words(page: str) -> str:
    found = re.search(r"(\d[\d,]*) of (\d[\d,]*) answers", re.sub(r"<[^>]+>", "", page))
    return found[0] if found else "the contenders answer"


def invited(pages: Pages, campaign: str) -> str:
    """The path of an evaluator's link."""
    _, page = pages.post(f"{campaign}invite/", {"label": "A program", "personal": "", "days": "1"})
    found = re.search(r"/judge/[A-Za-z0-9_-]+/", page)
    if not found:
        raise DemoFailed("The campaign gave no link for an evaluator.")
    return found[0]


def judge_all(person: Pages, link: str, screen: Screen) -> dict[str, int]:
    """Joins by the link, the first time, and judges until there is no pair left. Verdicts by kind."""
    if 'name="name"' in person.get(link):
        person.post(link, {"name": "A program"})
    expected = {row["messages"][-1]["content"]: row["expected"] for row in score.heldout(TASK)}
    said: dict[str, int] = {}
    while True:
        page = person.get(link)
        pair = re.search(r'name="pair" value="([^"]+)"', page)
        if not pair:
            return said
        verdict = prefer(page, expected)
        said[verdict] = said.get(verdict, 0) + 1
        person.post(link, {"pair": pair[1], "verdict": verdict})
        screen.status(f"{sum(said.values())} judged")
        time.sleep(PAUSE_SECONDS)


def prefer(page: str, expected: dict[str, Any]) -> str:
    """What keeps the house voice better, read off the page alone."""
    asked = html.unescape(re.findall(r'<p class="asked__text">(.*?)</p>', page, re.S)[-1])
    left, right = (html.unescape(re.search(rf'<pre[^>]*id="{side}">(.*?)</pre>', page, re.S)[1]) for side in SIDES)  # type: ignore[index]
    marks = [score.score(TASK, text, expected[asked]) for text in (left, right)]
    points = [mark.score + mark.valid for mark in marks]
    if points[0] == points[1]:
        return "tie" if points[0] else "both_bad"
    return SIDES[0] if points[0] > points[1] else SIDES[1]


SIDES = ("left", "right")


def preferences_of(pages: Pages, client: OpenAI, campaign: str) -> str:
    """The id of the file that the campaign's votes give."""
    known = {file.id for file in client.files.list()}
    path = "/playground/votes/preferences/"
    fields = {"campaign": campaign.strip("/").split("/")[-1], "agreement": "0.5", "least_votes": "1"}
    pages.get(path)
    pages.post(path, fields)
    new = [file for file in client.files.list() if file.id not in known]
    if not new:
        raise DemoFailed("The votes gave no preference file.")
    client.files.wait_for_processing(new[0].id, poll_interval=0.5)
    return new[0].id


def add_contender(pages: Pages, campaign: str, model: str) -> None:
    pages.get(campaign)
    path = "/campaigns/contenders/add/?" + urlencode({"model": model})
    pages.post(path, {"campaign": campaign.strip("/").split("/")[-1]})


def finding(pages: Pages, campaign: str) -> str:
    """The sentence at the head of the results page."""
    found = re.search(r'<p class="finding">(.*?)</p>', pages.get(f"{campaign}results/"), re.S)
    if not found:
        raise DemoFailed("The results page has no finding.")
    return html.unescape(found[1]).replace("\u2060", "").strip()


def draws_the_whole(pages: Pages, job: str, *others: str) -> bool:
    """Whether the lineage of the last job leads over the votes back to the first."""
    page = pages.get(f"/lineage/?job={job}")
    return all(each in page for each in others)


def prove(hone: Hone, screen: Screen, model: str, votes: int) -> None:
    client = OpenAI(base_url=hone.api, api_key=hone.key, timeout=120)
    pages = signed_in(hone)
    with screen.part("Examples learned"):
        taught = learn_examples(client, screen, model)
    campaign = begin_campaign(pages, [model, taught], votes)
    screen.line(f"{hone.url}{campaign}")
    with screen.part("Answered and frozen"):
        await_open(pages, screen, campaign)
    link, person = invited(pages, campaign), Pages(hone.url)
    with screen.part("Judged"):
        said = judge_all(person, link, screen)
    screen.table(table(["verdict", "pairs"], [[kind, str(count)] for kind, count in sorted(said.items())]))
    screen.line(finding(pages, campaign))
    file_id = preferences_of(pages, client, campaign)
    rows = client.files.content(file_id).text.count("\n")
    screen.line(f"{rows} preference pairs in {file_id}")
    with screen.part("Preferences learned"):
        tuned = learn_preferences(client, screen, taught, file_id)
    add_contender(pages, campaign, tuned)
    with screen.part("The new model answered the same prompts"):
        await_open(pages, screen, campaign)
    with screen.part("Judged again"):
        judge_all(person, link, screen)
    screen.line(finding(pages, campaign))
    tuned_job, taught_job = client.fine_tuning.jobs.list(limit=2).data
    if not draws_the_whole(pages, tuned_job.id, taught_job.id, file_id, campaign):
        raise DemoFailed(f"The lineage of {tuned_job.id} does not lead back to {taught_job.id} over its votes.")
    screen.line("the lineage page leads from the new model over the votes back to the first job")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=BASE, help="name of the base model in Hone's catalogue")
    parser.add_argument("--votes", type=int, default=40, help="wanted for each pair of contenders")
    wanted, screen = parser.parse_args(), Screen()
    try:
        with find_or_start(screen) as hone:
            prove(hone, screen, wanted.model, wanted.votes)
    except (DemoFailed, NoServer) as error:
        screen.line(f"The proof stopped: {error}")
        return 1
    screen.line("the loop is closed")
    screen.times()
    return 0


if __name__ == "__main__":
    sys.exit(main())
