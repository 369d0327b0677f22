"""The audit log: every change and every download of data leaves one row (accounts.audit).

middleware.py   sees every request, and writes the row once the answer is known
routes.py       the words of each route, or the reason why it leaves no row; a test walks all routes
objects.py      what the words speak of: names, ids, pages
"""
