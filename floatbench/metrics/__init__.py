"""One file per metric, one file per backbone, the Frechet core and the statistics."""
