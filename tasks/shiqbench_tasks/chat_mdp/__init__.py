"""MDPs solved exactly, played by a language model in several turns of chat."""
