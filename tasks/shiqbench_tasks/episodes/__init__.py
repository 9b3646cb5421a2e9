"""Multi-turn episodes of the user's own, with tool calls and rewards per message, in several known forms."""
