"""Where the clips of a protocol come from: fetched, prepared, overviewed."""
