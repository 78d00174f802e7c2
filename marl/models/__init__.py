"""Language models: networks, tokenizers, adapters."""
