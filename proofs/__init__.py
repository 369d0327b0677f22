"""Programs that show what is claimed, on a running Hone."""
