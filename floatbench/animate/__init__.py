"""A portrait and a sound to a video, for users: one, many, and the demo."""
