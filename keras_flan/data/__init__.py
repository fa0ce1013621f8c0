"""What a training example is, before any model: files to packed batches.

Imports `answers` and `pages`, and what lies below all rooms.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Example": ".records.example",
        "Turn": ".records.turns",
        "write_records": ".records.writing",
        "read_records": ".records.shards",
        "RecordInfo": ".records.info",
        "read_info": ".records.info",
        "import_file": ".importers.importing",
        "Task": ".templates.task",
        "Template": ".templates.template",
        "TemplateFamily": ".templates.families",
        "PromptTemplate": ".templates.families",
        "FewShotStyle": ".templates.families",
        "load_family": ".templates.library",
        "register_family": ".templates.own",
        "Format": ".templates.prompts",
        "ChatTemplate": ".templates.chat",
        "load_chat_template": ".templates.chat_files",
        "render_prompt": ".templates.prompts",
        "Mixture": ".mixtures.mixture",
        "MixtureGroup": ".mixtures.groups",
        "HubVocabulary": ".vocabularies.hub",
        "Vocabulary": ".vocabularies.sentencepiece",
        "train_vocabulary": ".vocabularies.training",
        "train_vocabulary_from": ".vocabularies.training",
        "build_dataset": ".pipeline.pipeline",
        "Pipeline": ".pipeline.pipeline",
        "PipelineSettings": ".pipeline.settings",
        "Position": ".pipeline.position",
    },
)
