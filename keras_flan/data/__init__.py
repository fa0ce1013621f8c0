"""What a training example is, before any model: records to packed batches."""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Example": ".records",
        "write_records": ".records",
        "read_records": ".records",
        "read_info": ".records",
        "import_file": ".importers",
        "Task": ".tasks",
        "Template": ".patterns",
        "TemplateFamily": ".templates",
        "load_family": ".library",
        "Format": ".prompts",
        "render_prompt": ".prompts",
        "Mixture": ".mixtures",
        "MixtureGroup": ".mixtures",
        "HubVocabulary": ".hub_vocabulary",
        "Vocabulary": ".tokenizers",
        "train_vocabulary": ".tokenizers",
        "train_vocabulary_from": ".tokenizers",
        "build_dataset": ".pipeline",
        "Pipeline": ".pipeline",
        "Position": ".position",
    },
)
