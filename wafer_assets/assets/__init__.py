"""One module per stage of the graph; specs, events and evidence. What a body does is in `operations` and `domain`."""
