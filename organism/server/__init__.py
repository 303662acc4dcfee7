"""What the organism serves to others over HTTP: so far the simulated model, in the protocols of two providers."""
