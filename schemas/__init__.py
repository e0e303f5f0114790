"""The production lines and the data-sharing contract of each, as data.

A folder per line says what its batch files look like and how it is run; `lines` reads it, and `loader` makes the
contract of one of its feeds. What a partner may send is changed here, not in code; checking a file is elsewhere.
"""
