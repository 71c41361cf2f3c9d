"""Alerts come in: read (`decode`), kept on disk (`inbox`), received (`receiver`), made into flow runs (`dispatch`).

`python -m prefect_videodb.webhooks` runs it all.
"""
