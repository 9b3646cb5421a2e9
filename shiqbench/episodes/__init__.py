"""Text and tokens: episodes, chat templates, generation."""
