"""One module per stage of the graph; a body loads, calls `domain`, returns the value with its evidence."""
