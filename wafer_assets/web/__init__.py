"""What browsers and programs ask for over HTTP: parse, call operations, render."""
