"""What should not be in a dataset: secrets and personal data, and text that a moderation classifier flags.

kinds.py names what is looked for, keys.py and personal.py find it in a text, finders.py in any text at once, rows.py in
the rows of a file; scanning.py goes through whole files and keeps what was found, reviewing.py what people decided.
embedded.py, endpoint.py and guard_model.py judge texts (asking.py asks their servers, guards.py reads what guards say),
classifiers.py knows which one a project has chosen, and moderation.py has whole files judged by it.
"""
