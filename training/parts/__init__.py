"""A file that a client sends in parts, in any order and at once, and then names in theirs (OpenAI's /v1/uploads).

The browser's own uploads grow from the front and go on after a break: training/uploads.py.
"""
