"""What the archive is made of: where a video lies, its download, its parts, the store, the sidecar."""
