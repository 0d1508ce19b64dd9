"""Generation of one modality from the codes of another."""
