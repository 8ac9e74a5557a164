"""Protocol, clip, method, runner, store and executors."""
