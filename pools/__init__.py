"""Pools that live outside Label Studio, as Parquet: measured part by part, ranked as a whole, their top imported."""
