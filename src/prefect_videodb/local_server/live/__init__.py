"""What the server makes of a stream while it runs: transcripts, indexes, alerts, and the frames that tell of them."""
