"""One contract, held by a double of ours and by the real thing alike."""
