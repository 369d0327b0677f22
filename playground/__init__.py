"""Talking to models: which are served, the proof that they are what was trained, comparisons and votes.

serving      deployments.py says what is wanted; `manage.py serve` runs fleet.py, which makes it so: members.py,
             needs.py and room.py (memory), vllm.py, processes.py; bringing_up.py loads, gate.py and parity.py prove
answering    gateway.py passes requests through (routers.py for the API, streams.py for the page); tool_calls.py
comparing    contenders.py, comparisons.py, sheets.py (who may see what)
votes        leaderboard.py over statistics/; preferences.py makes them a file to train on
film/        pinned prompts, answered by each checkpoint of a job as soon as it is served; tasks.py
screens      views.py, preference_views.py, forms.py, consumers.py
"""
