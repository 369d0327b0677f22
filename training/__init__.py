"""Files, base models, jobs and checkpoints, without any screen: everything here works from a shell.

Nouns are in models.py (and models.py of the folders here, export_row.py); verbs by what they are about:
    a dataset      files.py, uploads.py (from a browser), parts/ (through the API), splits.py; what is in it: checks.py
                   over datasets.py and rules.py (JSONL, read by jsonl.py) or texts.py (raw text); its tokens:
                   token_counts.py; samples/ come with Hone; versions.py makes the next one, repairs/ mend rows,
                   repeats/ finds what stands twice; file_tasks.py has work on whole files that a worker does
    a base model   catalogue.py, starter.py, scratch.py; brought to disk by downloads.py from hub.py; model_folders.py
    a job          actions.py -> preparing.py (checks, numbers for every auto) -> supervisor.py, which starts the
                   trainer with launcher.py and stores what it writes: events.py -> recording.py -> metric_rows.py,
                   endings.py, job_log.py; calibration.py learns from it, keeping.py lets old checkpoints go
    several jobs   chains/ (recipes of stages)
    names          aliases/: a name of the team's own for a base model or checkpoint, and what it pointed at before
    what leaves    exports.py, parcels.py, cards.py; trackers/ hand figures to others
    the processes  tasks.py and workers.py on broker.py; claims.py, locks.py, leash.py, devices.py; notify.py
    the trainer    engine/, which knows nothing of all this
    the disk       home.py says where things lie, disk.py that there is room
"""
