"""The API's operations, one module for each kind of thing, and what is served without a key."""
