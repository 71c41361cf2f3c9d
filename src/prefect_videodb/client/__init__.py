"""The protocol: requests as values, two clients that send them. Imports nothing of Prefect."""

from prefect_videodb.client.call import Call, Job
from prefect_videodb.client.http import API_KEY_VARIABLE, BASE_URL, AsyncClient, Client, Polling

__all__ = ["API_KEY_VARIABLE", "BASE_URL", "AsyncClient", "Call", "Client", "Job", "Polling"]
