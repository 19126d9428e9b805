"""Episodes: folders of them, where they come from, and how they are checked, converted and played."""
