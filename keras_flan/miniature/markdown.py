"""`python -m keras_flan.miniature.markdown`, as it once was called."""

from keras_flan.miniature.experiments.markdown import main

if __name__ == "__main__":
    main()
