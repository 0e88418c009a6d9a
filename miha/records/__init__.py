"""What a run leaves behind: model archives, the tidy history, who descends from whom."""
