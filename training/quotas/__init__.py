"""How much of the server a project may use: jobs at once, jobs that wait, bytes on the disk.

models.py    what whoever looks after the server allows one project, in place of the server's defaults
limits.py    what holds for a project, how much it uses, and the refusals
turns.py     whose turn it is in the queue: projects take turns, each within what it may run
"""
