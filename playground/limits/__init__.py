"""Rate limits of the API: requests and tokens a minute, for a project and a family of models.

A family is a base model with everything that was fine-tuned from it, as at OpenAI. windows.py counts, the same for all
web processes; reserving.py says yes or 429 and writes the `x-ratelimit-*` headers; tally.py reads off an answer what it
really took.
"""
