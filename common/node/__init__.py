"""The node: storage, execution, agreement with peers, and the service that HTTP routes ask."""
