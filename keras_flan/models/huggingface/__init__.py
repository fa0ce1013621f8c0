"""T5 checkpoints in the format of Hugging Face: in, and out again."""
