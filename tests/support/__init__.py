"""What several tests share: servers that record, the SDK of the vendor in a process of its own."""
