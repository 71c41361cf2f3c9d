"""What is compared with the SDK, one module a resource."""
