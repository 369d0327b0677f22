"""What the audit log says of each route that changes something or gives data out; or why it says nothing of it.

A sentence begins with its verb ("delete dataset {dataset}") and becomes "Deleted dataset ..." or "Tried to delete
dataset ...". In braces stand what the address names (objects.IN_ADDRESSES), `made` (what came of it: the id in the
answer, or the page that it leads to), `posted[...]` (a field of the form; only those named here are ever stored, never
one that holds a secret), and what a view tells (accounts.audit.tell).
"""

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Words:
    """`kind` is what the row is listed under, one of objects.KINDS; its id is that of `made` if there is one, else of
    the object of this kind in the address. `tried`: where it was refused and there is no `made` to speak of. `by`: a
    sentence for each value of the address's `action` (or `verb`). `of`: parts of this address that are ids of something
    else than everywhere. `reads`: by GET, too: data leaves the server. `draft`: a form that goes back and forth until
    something is made of it, or marks that are only compared; no row before."""

    kind: str
    sentence: str = ""
    tried: str = ""
    by: tuple[tuple[str, str], ...] = ()
    of: tuple[tuple[str, str], ...] = ()
    reads: bool = False
    draft: bool = False


def _each(kind: str, **sentences: str) -> dict[str, Words]:
    """Several routes that each do one thing with what is of this kind."""
    return {name.replace("_", "-"): Words(kind, text) for name, text in sentences.items()}


def _by(kind: str, **sentences: str) -> Words:
    return Words(kind, by=tuple((name.replace("_", "-"), text) for name, text in sentences.items()))


def _made(kind: str, sentence: str, tried: str) -> Words:
    return Words(kind, sentence, tried=tried)


def _draft(kind: str, sentence: str, tried: str) -> Words:
    return Words(kind, sentence, tried=tried, draft=True)


def _out(kind: str, sentence: str) -> Words:
    return Words(kind, sentence, reads=True)


_JOB = "make job {made.pk} on {made.base_model}, file {made.training_file_name}"
_VERSION = "make version {made.version} of dataset {made}"

_SHARED = (("fine_tuned_model_checkpoint", "model"),)
_EXTERNAL = (("pk", "external"),)

WORDS: Final[dict[str, Words]] = {
    # datasets
    "upload-dataset": _made("dataset", "upload dataset {made}", "upload a dataset"),
    "begin-upload": _made("dataset", "begin to upload dataset {made}", "upload a dataset"),
    "finish-upload": Words("dataset", "upload dataset {dataset}"),
    "api:create_file": _made("dataset", "upload file {made}", "upload a file"),
    "api:create_upload": _made("upload", "begin to upload {made} in parts", "begin an upload in parts"),
    "api:complete_upload": Words("upload", "complete the upload of {upload}"),
    "api:cancel_upload": Words("upload", "cancel the upload of {upload}"),
    "add-text-folder": _made("dataset", "add folder {made} of the server as a dataset", "add a folder as a dataset"),
    "load-samples": Words("dataset", "load the sample datasets"),
    "bring-dataset": Words("making", "bring dataset “{posted[id]}” from the hub"),
    "making-again": Words("making", "try again to make dataset {making}"),
    "dismiss-making": Words("making", "dismiss the making of dataset {making}"),
    "combine-datasets": _made("dataset", "combine datasets to {made}", "combine datasets"),
    "map-columns": _made("dataset", "map the columns of {dataset} to dataset {made}", "map the columns of {dataset}"),
    "split-dataset": Words("dataset", "split dataset {dataset}"),
    "decide-safety": Words("dataset", "decide “{posted[decision]}” about secrets and personal data found in {dataset}"),
    "apply-safety": _made("dataset", _VERSION + " as decided about what was found", "make a version of {dataset}"),
    "moderate-dataset": Words("dataset", "have dataset {dataset} moderated"),
    "make-dataset-repair": _made("dataset", _VERSION + " with repairs", "make a repaired version of {dataset}"),
    "remove-repeats": _made("dataset", _VERSION + " without repeats", "make a version of {dataset} without repeats"),
    "rename-dataset": Words("dataset", "rename dataset {dataset} to “{posted[filename]}”"),
    "expire-dataset": Words("dataset", "change the expiry of dataset {dataset} (days: “{posted[days]}”)"),
    "delete-dataset": Words("dataset", "delete dataset {dataset}"),
    "api:delete_file": Words("dataset", "delete file {dataset}"),
    "dataset-content": _out("dataset", "download dataset {dataset}"),
    "api:file_content": _out("dataset", "download file {dataset}"),
    "download-repeats": _out("dataset", "download the repeats of dataset {dataset}"),
    # jobs
    "new-job": _made("job", _JOB, "make a job"),
    "train-sample": _made("job", _JOB, "make a job on a sample dataset"),
    "job-from-file": Words("job", "fill in a new job from a configuration file"),
    "api:create_job": _made("job", _JOB, "make a job"),
    "act-on-jobs": _draft("job", "{posted[action]} job {job}", "{posted[action]} jobs"),  # a row for each
    "act-on-job": _by(
        "job",
        pause="pause job {job}",
        resume="resume job {job}",
        stop="cancel job {job}",
        drop="cancel job {job} and delete its checkpoints",
        save="save a checkpoint of job {job} now",
        rename="rename job {job} to “{posted[label]}”",
        archive="archive job {job}, or bring it back",
        delete="delete job {job}",
    ),
    "answer-by": Words("job", "let the name that job {job} had at OpenAI mean its rerun {posted[checkpoint]}"),
    "api:cancel_job": Words("job", "cancel job {job}"),
    "api:pause_job": Words("job", "pause job {job}"),
    "api:resume_job": Words("job", "resume job {job}"),
    "api:save_checkpoint": Words("job", "save a checkpoint of job {job} now"),
    "ask-film": Words("job", "ask the checkpoints of job {job} the pinned prompts"),
    "ask-epochs": Words("job", "ask the checkpoints of job {job} a prompt"),
    "pin-prompts": Words("job", "pin prompts to job {job}"),
    "job-csv": _out("job", "download the figures of job {job}"),
    "new-recipe": _made("recipe", "make recipe {made}", "make a recipe"),
    "api:create_recipe": _made("recipe", "make recipe {made}", "make a recipe"),
    "act-on-recipe": _by("recipe", cancel="cancel recipe {recipe}", retry="try recipe {recipe} again"),
    "api:cancel_recipe": Words("recipe", "cancel recipe {recipe}"),
    "api:retry_recipe": Words("recipe", "try recipe {recipe} again"),
    # models
    "act-on-checkpoint": _by(
        "model",
        rename="rename model {model} to “{posted[label]}”",
        archive="archive model {model}",
    ),
    "delete-checkpoint": Words("model", "delete model {model}"),
    "api:delete_model": Words("model", "delete model {model}"),
    "merge-checkpoint": Words("model", "merge model {model} for export"),
    "api:create_export": _made("export", "merge model {made} for export", "merge a model for export"),
    "api:export_content": _out("export", "download the merged weights of {export}"),
    "api:checkpoint_content": _out("model", "download the weights of {model}"),
    "checkpoint-tar": _out("model", "download the weights of {model}"),
    "merged-tar": _out("model", "download the merged weights of {model}"),
    "share-checkpoint": Words("model", "share model {model} with another project"),
    "take-back": Words("model", "take model {model} back from another project"),
    "api:share_checkpoint": Words("model", "share model {model} with another project", of=_SHARED),
    "api:take_back_permission": Words("model", "take model {model} back from another project", of=_SHARED),
    "promote": Words("alias", "point the name “{posted[name]}” at model {posted[model]}"),
    "act-on-alias": _by(
        "alias",
        roll_back="roll the name “{name}” back to the model before",
        delete="delete the name “{name}”",
    ),
    "add-model": Words("base", "add base model “{posted[source]}”"),
    "new-model": Words("base", "make an untrained base model “{posted[name]}”"),
    "act-on-model": _by(
        "base",
        download="download base model {name}",
        load="load base model {name} into memory",
        unload="put base model {name} away from memory",
    ),
    "remove-model": Words("base", "remove base model {name}"),
    "remove-model-files": Words("base", "remove the files of base model {name}"),
    "add-external": Words("external", "add external model “{posted[name]}”"),
    "edit-external": Words("external", "change external model {external}", of=_EXTERNAL),
    "test-external": Words("external", "test external model {external}", of=_EXTERNAL),
    "remove-external": Words("external", "remove external model {external}", of=_EXTERNAL),
    "check-refusals": Words("model", "check what model {model} refuses"),
    "extend-refusals": Words("prompts", "add prompts that should be refused"),
    "refusal-policy": Words("project", "change what a failed refusal check does to a promotion: “{posted[promotion]}”"),
    # comparisons, matrices, campaigns
    "keep-edit": Words("comparison", "keep an edited answer in comparison {comparison}"),
    "remove-edit": Words("comparison", "remove an edited answer from comparison {comparison}"),
    "export-comparison": _out("comparison", "download comparison {comparison}"),
    "vote-preferences": _made(
        "dataset", "make preference dataset {made} of votes", "make a preference dataset of votes"
    ),
    "new-prompt-set": _made("prompts", "make prompt set {made}", "make a prompt set"),
    "delete-prompt-set": Words("prompts", "delete prompt set {prompts}"),
    "new-matrix": _draft("matrix", "make matrix {made}", "make a matrix"),
    "matrix-export": _out("matrix", "download matrix {matrix}"),
    "act-on-matrix": _by(
        "matrix",
        cancel="stop the answering of matrix {matrix}",
        go_on="go on with the answering of matrix {matrix}",
        again="ask matrix {matrix} again",
        delete="delete matrix {matrix}",
    ),
    **_each(
        "matrix",
        matrix_contenders="add model “{posted[model]}” to matrix {matrix}",
        add_score="add a score to matrix {matrix}",
        remove_score="remove a score from matrix {matrix}",
        matrix_judges="have matrix {matrix} judged by a model",
    ),
    "new-campaign": _draft("campaign", "make campaign {made}", "make a campaign"),
    "join-campaign": _made("campaign", "add a model to campaign {made}", "add a model to a campaign"),
    "act-on-campaign": _by(
        "campaign",
        open="open campaign {campaign}",
        reopen="open campaign {campaign} again",
        close="close campaign {campaign}",
        retry="ask the models of campaign {campaign} again",
    ),
    **_each(
        "campaign",
        invite_evaluators="invite evaluators to campaign {campaign} (“{posted[label]}”)",
        want_more_votes="ask for {posted[votes_per_pair]} votes a pair in campaign {campaign}",
        revoke_judging="revoke a link or an evaluator of campaign {campaign}",
        delete_campaign="delete campaign {campaign}",
        campaign_judges="have campaign {campaign} judged by a model",
    ),
    "act-on-judge": _by("judge", cancel="stop judge {judge}", go_on="have judge {judge} go on"),
    # people, keys, settings
    "sign-in": Words("account", "sign in"),
    "sign-out": Words("account", "sign out"),
    "link": Words("account", "use a one-time link"),
    "forgotten-password": Words("account", "ask for a link to set a new password"),
    "welcome": Words("account", "choose an e-mail and a password"),
    "change-profile": Words("account", "change their own name, e-mail or mail settings"),
    "change-password": Words("account", "change their own password"),
    "end-sessions": Words("account", "sign out everywhere else"),
    "rename-project": Words("project", "rename the project to “{posted[name]}”"),
    "invite": Words("invitation", "invite {posted[email]} as {posted[role]}"),
    "revoke-invitation": Words("invitation", "revoke the invitation for {invitation}"),
    "act-on-member": _by(
        "person",
        reset="make a password reset link for {person}",
        remove="remove {person} from the project",
        owner="make {person} an owner",
        member="make {person} a member",
        evaluator="make {person} an evaluator",
        reader="make {person} a reader",
    ),
    "make-key": Words("key", "make API key “{key}” ({key.hint})", tried="make an API key"),
    "revoke-key": Words("key", "revoke API key “{key}” ({key.hint})"),
    "store-tracker-key": Words("project", "store a key for Weights & Biases"),
    "remove-tracker-key": Words("project", "remove the key for Weights & Biases"),
    "change-moderation": Words("project", "change who moderates and what is refused"),
    "change-terms": Words("base", "change prices and limits of {name}"),
    "add-webhook": Words("webhook", "add webhook “{posted[name]}”"),
    "act-on-webhook": _by(
        "webhook",
        rotate="rotate the secret of webhook {webhook}",
        **{"try": "send a sample to webhook {webhook}"},
        resume="send to webhook {webhook} again",
        remove="remove webhook {webhook}",
    ),
    "send-webhook-again": Words("delivery", "send {delivery} again"),
    "api:create_endpoint": _made("webhook", "add webhook “{made}”", "add a webhook"),
    "api:change_endpoint": Words("webhook", "change webhook {webhook}"),
    "api:delete_endpoint": Words("webhook", "remove webhook {webhook}"),
    "api:rotate_secret": Words("webhook", "rotate the secret of webhook {webhook}"),
    "api:try_endpoint": Words("webhook", "send a sample to webhook {webhook}"),
    "change-quota": Words("project", "change what project {posted[project]} may use"),
    # all of it
    "prepare-takeaway": Words("project", "prepare all data of the project for download"),
    "download-takeaway": _out("project", "download all data of the project"),
    "remove-takeaway": Words("project", "remove the prepared data of the project"),
    "new-project": Words("project", "begin project “{posted[name]}”"),
    "delete-project": Words("project", "delete the project"),
    "audit-csv": _out("audit", "download the audit log"),
    "usage-csv": _out("project", "download the usage of the project"),
}

_SHOWS = "it only shows something, however it is asked"
_PREVIEW = "a preview: nothing is stored"
_ASKED = (
    "a question to a model, thousands an hour; the usage of each key is counted, and nothing of the project changes"
)
_VOTE = "a vote is a row of its own, with its voter and time; here it would tell who is behind a blind judgement"
_LOOKS = "it has a worker read a file and changes nothing in it"
NOT_RECORDED: Final[dict[str, str]] = {
    "api:chat_completions": _ASKED,
    "api:completions": _ASKED,
    "api:create_moderation": _ASKED,
    "start-blind": "a comparison is a row of its own, with its person and time",
    "next-blind": "as start-blind",
    "matrix-row": "it opens a comparison, as start-blind does",
    "vote": _VOTE,
    "judge": _VOTE,
    "judge-as-member": _VOTE,
    "api:add_part": "a piece of an upload; its beginning and its completion are recorded",
    "upload-chunk": "a piece of an upload; its beginning and its end are recorded",
    "choose-project": "it changes only what this browser shows",
    "unknown-url": "there is no such address",
    "api:api-root": "there is no such address",
    "estimate-job": _PREVIEW,
    "estimate-recipe": _PREVIEW,
    "recipe-stages": _PREVIEW,
    "prompt-difference": _PREVIEW,
    "try-moderation": _PREVIEW,
    "dataset-tokens": _LOOKS,
    "look-for-repeats": _LOOKS,
    "look-dataset-repairs": _LOOKS,
    "look-again-safety": _LOOKS,
    "check-dataset": _LOOKS,
    **dict.fromkeys(
        ("healthz", "overview", "search", "device", "jobs", "job", "model-choice", "compare-jobs", "job-configuration"),
        _SHOWS,
    ),
    **dict.fromkeys(("job-metrics", "job-figures", "job-playground", "aliases", "external-models", "models"), _SHOWS),
    **dict.fromkeys(("recipes", "recipe", "settings", "epochs", "api:openapi-json"), _SHOWS),
}


def name_of(match: Any, method: str) -> str:
    """Of a resolved address: its name; of /v1 "api:" and the operation, since one address has several by method."""
    found = operations(match.func)
    if not found:
        return str(match.view_name or "")
    operation = next((each for each in found if method in each.methods), None)
    return f"api:{operation.view_func.__name__}" if operation else ""


def operations(view: Any) -> list[Any]:
    """What ninja does at one address, by method: its view function closes over them. Nothing for any other view."""
    cells = [cell.cell_contents for cell in getattr(view, "__closure__", None) or ()]
    return next((held.operations for held in cells if hasattr(held, "operations")), [])
