"""What the flow `record_meeting` is made of, apart from its steps: options and result, memory, waiting, report."""
