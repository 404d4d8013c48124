"""A demo on one machine: a real Label Studio, the backend, made-up messages, a scripted annotator."""
