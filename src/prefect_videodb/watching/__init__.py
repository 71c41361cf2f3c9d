"""What the flow `watch_stream` is made of, apart from its steps: what to watch for, looks, repairs, the end, report."""
