"""Model backends: the contract of a provider, the router, prices and token estimates, one file per provider."""
