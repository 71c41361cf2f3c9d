"""What the local server does with pictures and sound: record, export, cut, and a source to record from."""
