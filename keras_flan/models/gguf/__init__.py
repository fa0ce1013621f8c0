"""Models in GGUF files: Llama, Qwen and Gemma 3, and those that pip brings.

Imports `models/huggingface`, in whose terms a file's header is put.
"""
