"""Tables and pictures, made from records, caches and embeddings. Never imports torch."""
