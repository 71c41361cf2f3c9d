"""What the flow `follow_up_alert` is made of, apart from its steps: the alert, its clip, notifications, the report."""
