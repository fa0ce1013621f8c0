"""Prompts to paths of reasoning, and to a vote over their answers.

Imports `models` and `answers`, and what these may import.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "LanguageModelLike": ".language_model_like",
        "Path": ".outputs",
        "compilations": ".rounds",
        "path_certainties": ".certainty",
        "PromptStyle": ".styles",
        "Recorded": ".language_model_like",
        "Sampling": ".sampling_settings",
        "ask": ".prompting",
        "chat_prompt": ".chat",
        "ChatModel": ".chat",
        "generate": ".engine",
        "generate_texts": ".engine",
        "stream": ".engine",
        "Answer": "..answers",
        "extract_answer": "..answers",
        "ProgramResult": "..answers.programs",
        "program_answer": "..answers.programs",
        "run_program": "..answers.programs",
        "Vote": "..answers.voting",
        "vote": "..answers.voting",
        "rank_weights": "..answers.voting",
        "ConfidenceModel": "..answers.confidence",
    },
)
