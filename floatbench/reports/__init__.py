"""Tables, ledger, plots, leaderboard and the page, made only from a run's records."""
