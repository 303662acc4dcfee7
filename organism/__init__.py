"""organism: an actor-model message pump for swarms of LLM agents."""
