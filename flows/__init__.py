"""Flows that can be deployed as they are."""

from prefect_videodb.flows.record_meeting import record_meeting

__all__ = ["record_meeting"]
