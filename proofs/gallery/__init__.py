"""Every page in every state as a picture, to look at: `python -m proofs.gallery FOLDER`."""
