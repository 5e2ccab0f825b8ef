"""The stream that all blocks of a model read and write: how large its numbers are."""
