"""A distributed cluster cache with replicated tier failover."""
