"""Prefect runs that survive their process. Knows nothing of VideoDB."""
