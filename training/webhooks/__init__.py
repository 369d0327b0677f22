"""Telling a project's own programs when a job has ended: OpenAI's events, signed as Standard Webhooks says.

models.py      endpoints, and each delivery that is owed to one
signing.py     the secret, and the three headers made with it
endpoints.py   add, change, rotate the secret, try out, remove
deliveries.py  what a job's end owes to whom; one attempt; when the next one comes
"""
