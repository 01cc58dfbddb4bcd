"""Training of the embedded voice: a small checkpoint of the English Chatterbox topology. See README.md."""
