"""Protocol of the stream: schema, codec, publisher, control, clients. Knows neither core nor storage."""
