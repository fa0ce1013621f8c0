"""`python -m keras_flan.miniature.pretrain`, as it once was called."""

from keras_flan.miniature.pretraining.pretrain import main

if __name__ == "__main__":
    main()
