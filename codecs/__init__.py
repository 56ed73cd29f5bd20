"""Media formats: payload formats, codec registry, encoders, decoders, sources and sinks. No network."""
