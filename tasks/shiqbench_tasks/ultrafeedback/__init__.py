"""UltraFeedback: single-turn instructions with rated answers, or any preference or rated data set like it."""
