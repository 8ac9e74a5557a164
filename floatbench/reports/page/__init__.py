"""The page: one static folder with tables, players, tracks and a blind vote, made from the records of finished runs."""
