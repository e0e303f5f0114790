"""What people and sensors do, each once: stores in, values out; no asset context, no click, no rich, no request."""
