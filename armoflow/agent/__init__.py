"""What an agent does for one task: buffered effects, and the frames of the lane."""
