"""Chains: stages of training (mid-train, SFT, DPO) that are started as one, each from the weights of the one before."""
