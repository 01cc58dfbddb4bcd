"""The modules of a Chatterbox checkpoint in torch: attribute names are the keys of the checkpoint files."""
