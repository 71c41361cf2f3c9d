"""Where a caller asks for work that took longer than a request."""

from prefect_videodb.local_server.calls import Answer, Call


def read(call: Call) -> Answer:
    """`GET /async-response/{id}`: how far it is, or what it answered."""
    job = call.state.jobs.get(call.path["job_id"])
    if job.status == "processing":
        return Answer({"percentage": int(job.percentage)}, envelope={"status": "processing"})
    return Answer(envelope={"status": job.status, "response": job.response(call.base_url)})


OPERATIONS = {("GET", "/async-response/{job_id}"): read}
