"""The rows of the table of clients, in its order: files, jobs, what a job has learned, models, the rest."""

from proofs.clients.rows import files, jobs, training, models, chat, walls, absent  # noqa: F401, I001 - the order
