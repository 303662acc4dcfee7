"""What has happened: facts, the steps they consist of, what a thread is at one instant, and what is told of calls."""
