"""`python -m keras_flan.cli`."""

from keras_flan.cli import main

main()
