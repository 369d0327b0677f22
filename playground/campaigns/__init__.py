"""Campaigns: contenders answer a prompt set once, and people judge pairs of the frozen answers blind.

models.py     the rows, and what they mean to those who count votes
running.py    the project's side: begin, open, close, invite, revoke
judging.py    the evaluator's side: the next pair, a verdict, taking one back
overview.py   what the campaign's page shows; forms.py, views.py, judge_views.py: the screens
"""
