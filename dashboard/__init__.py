"""The screens and the `/v1` API of everything but the playground, and the wiring of the whole.

wiring         settings.py on env.py, urls.py, asgi.py, sockets.py, middleware.py; `manage.py up` on supervisor.py
screens        views/, one file a screen or a part of it; consumers.py sends what is new
forms          forms.py, forms_*.py, expert_fields.py, form_choices.py, form_start.py
the new job    creation.py, sweep.py; forecast.py (what it would take), job_as_code.py
a job's page   headline.py, curves.py, row_losses.py, advice.py, differences.py, configuration.py
the overview   guide.py (the first steps), waiting.py (what waits for a person)
the API        api.py, routers/, schemas.py, schemas_chains.py; paging.py, ranges.py, wording.py
"""
