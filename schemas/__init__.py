"""The data-sharing contract with the partner, as data.

One JSON file per feed says what a batch file looks like; `loader` reads it into a typed object. What the
partner may send is changed here, not in code; checking a file against it does not belong here.
"""
