"""Losses for Keras: one value per sample, computed in float32."""
