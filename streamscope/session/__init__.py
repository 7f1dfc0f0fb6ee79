"""One session: threads, queues, sockets and the state machine that holds them together."""
