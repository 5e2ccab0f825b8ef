"""Messages of the figures on many photos: similar places, and what a folder of photos shows of a model."""
