"""What is kept on disk: journal, session.h5, recordings. Knows neither core nor wire."""
