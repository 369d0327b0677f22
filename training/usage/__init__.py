"""What was used, in rows of an hour, and what it costs.

models.py; book.py gathers and writes what answers took, jobs.py writes what training took, terms.py says what a million
tokens cost a project and how many it may ask for, report.py sums it all up.
"""
