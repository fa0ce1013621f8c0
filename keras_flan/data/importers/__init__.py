"""Importers: public task files to records.

Each format is one small module with an `Importer`. A format of your own is
such a module too: pass its importer to `import_file`, or name the file on
the command line (docs/adding_a_format.md shows one).

Imports `records`, `templates` and `mixtures`.
"""

from keras_flan.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "IMPORTERS": ".formats",
        "describe_formats": ".formats",
        "Imported": ".importing",
        "import_file": ".importing",
        "import_source": ".importing",
        "Importer": ".base",
        "Options": ".base",
        "Part": ".base",
        "Reject": ".base",
        "RejectCode": ".base",
        "Row": ".base",
        "Source": ".base",
        "task_name": ".base",
    },
)
