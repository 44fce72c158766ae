"""Images to vectors: the loop that embeds, and the file of embeddings."""
