"""Talking to models: which are served, the proof that they are what was trained, comparisons and votes.

serving      deployments.py says what is wanted; `manage.py serve` runs fleet.py, which makes it so: members.py,
             needs.py and room.py (memory), sharing.py (beside training), vllm.py (vllm_side/ is loaded by vLLM itself),
             processes.py; bringing_up.py loads, gate.py and parity.py prove
answering    asking.py asks any model that can stand in a column; gateway.py passes requests through (routers.py for the
             API, streams.py for the page); tool_calls.py
limits/      requests and tokens a minute of the API: windows.py counts, reserving.py says yes or 429, tally.py reads
             off an answer what it took
external/    models of somebody else's server: addresses.py says which may be asked, calling.py asks, trouble.py tells
comparing    contenders.py, comparisons.py, sheets.py (who may see what); exporting.py; edits/ keeps edited answers
             figures.py and prices.py (what an answer cost), structured.py (tools, answer formats), differences.py,
             looks.py (what the address keeps)
votes        leaderboard.py over statistics/; preferences.py makes them a file to train on
film/        pinned prompts, answered by each checkpoint of a job as soon as it is served; tasks.py;
             epochs.py is the slider over them
claims.py    long work that one worker does: claimed, kept alive, given back, found again when lost
matrix/      a prompt set put to several contenders once, the answers kept; filling.py is the worker's side; sets.py and
             set_views.py make prompt sets, table.py what the page shows, opening.py a row as a comparison
judge/       a model that judges the pairs that people judge, shown beside its agreement with them
campaigns/   people judge a matrix's answers blind, by a link or an account
screens      views.py, preference_views.py, forms.py, consumers.py
"""
