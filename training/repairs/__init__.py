"""Repairs of datasets: one press mends all rows of a kind, shown as a difference first, made as a new version.

What a repair does to a row is a pure function (messages.py, calls.py, shapes.py, lengths.py); which there are and what
they mend is told by catalogue.py; how they pass over a file by applying.py; the row that remembers one by models.py,
and what a person can ask of it by asking.py.
"""
