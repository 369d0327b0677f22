"""Other programs against a running Hone: what `python -m proofs.clients` runs."""
