"""Pre-trained encoders: images -> feature vectors.  models.ENCODERS lists them."""
