"""`hone`: the console script, thin over the official SDK. It knows the server by its API only.

main.py      the words of the command line; client.py: where the server is, and errors in plain words
models.py upload.py jobs.py watch.py compare.py chat.py     a command each
curve.py     a loss curve in braille; columns.py: texts side by side; waiting.py: a model that keeps silent
"""
