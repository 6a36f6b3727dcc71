"""What runs on a device: executors, the agent, its gRPC server and client."""
