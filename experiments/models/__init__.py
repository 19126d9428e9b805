"""Models as runs keep them: their architecture, files, loading and inspection."""
